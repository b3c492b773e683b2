-- wrk's part of `cargo xtask bench serve`: sentences in turn to /v1/tag, and the outcome as one line.
-- Behind `--`: the file of sentences, one a line, and how many of them make a request.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

local requests, turn = {}, 0
ok, refused, other = 0, 0, 0

function init(args)
  local headers = { ["Content-Type"] = "application/json" }
  local count, texts = tonumber(args[2]), {}
  for line in io.lines(args[1]) do
    table.insert(texts, '"' .. line .. '"')
    if #texts == count then
      local one, many = '{"text":' .. texts[1] .. '}', '{"texts":[' .. table.concat(texts, ",") .. ']}'
      local body = count == 1 and one or many
      table.insert(requests, wrk.format("POST", "/v1/tag", headers, body))
      texts = {}
    end
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function response(status)
  if status == 200 then
    ok = ok + 1
  elseif status == 429 then
    refused = refused + 1
  else
    other = other + 1
  end
end

function done(summary, latency)
  local sums = { ok = 0, refused = 0, other = 0 }
  for _, thread in ipairs(threads) do
    for name in pairs(sums) do
      sums[name] = sums[name] + thread:get(name)
    end
  end
  local errors = summary.errors
  local cut = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("outcome us=%d ok=%d refused=%d other=%d cut=%d p50=%d p99=%d\n",
    summary.duration, sums.ok, sums.refused, sums.other, cut,
    latency:percentile(50), latency:percentile(99)))
end
