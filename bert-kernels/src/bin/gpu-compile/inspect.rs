//! What is to be known of a compiled kernel: registers, spills, memory, and the instructions that a fast
//! kernel has.

use std::path::Path;
use std::process::{Command, Stdio};

use bert_kernels::offline::{Compiled, Target};
use object::Endianness;
use object::elf::NoteType;
use object::read::elf::{FileHeader, SectionHeader};
use rmpv::Value as Pack;
use serde_json::{Map, Value, json};

/// The kernels that tensor cores compute.
const TENSOR_KERNELS: &str = "Tensor";
/// What each of those is made of.
const TENSOR_INSTRUCTIONS: [(&str, &str); 2] = [("mma", "mma.sync"), ("ldmatrix", "ldmatrix.sync")];

/// A kernel on a target, as a line of the report.
///
/// `registers` are those of a unit, vector registers on AMD; `spilled_bytes` of a unit lie in memory
/// instead, stores and loads counted apart, and `stack_bytes` are its arrays that have an index; on NVIDIA
/// `load_bytes` and `store_bytes` tell the widest access to memory, asynchronous copies among them.
pub fn entry(target: Target, kernel: &Compiled, ptxas: Option<&Path>) -> Result<Value, String> {
    let (op, dtype) = kernel.label.split_once(' ').unwrap_or((&kernel.label, ""));
    let mut entry = Map::new();
    entry.insert("op".into(), json!(op));
    entry.insert("dtype".into(), json!(dtype));
    entry.insert("kernel".into(), json!(kernel.kernel));
    entry.insert("path".into(), json!(kernel.path));
    entry.insert("id".into(), json!(kernel.id));
    entry.insert("target".into(), json!(target.name()));
    entry.insert("units".into(), json!(kernel.units));
    match &kernel.outcome {
        Ok(code) => {
            entry.insert("bytes".into(), json!(code.bytes.len()));
            entry.insert("shared_memory_bytes".into(), json!(code.shared_memory_bytes));
            if target.is_nvidia() {
                let ptx = String::from_utf8_lossy(&code.bytes);
                entry.extend(instructions(&kernel.kernel, &ptx));
                if let Some(ptxas) = ptxas {
                    entry.extend(assembled(ptxas, target, &ptx)?);
                }
            } else {
                entry.extend(described(&code.bytes)?);
            }
        }
        Err(reason) => {
            entry.insert("error".into(), json!(reason));
        }
    }
    Ok(Value::Object(entry))
}

fn instructions(kernel: &str, ptx: &str) -> Map<String, Value> {
    let mut found = Map::new();
    if kernel.contains(TENSOR_KERNELS) {
        for (key, instruction) in TENSOR_INSTRUCTIONS {
            found.insert(key.into(), json!(ptx.contains(instruction)));
        }
    }
    let widest = |kind: &str| ptx.lines().filter_map(|line| access_bytes(line, kind)).max();
    found.insert("load_bytes".into(), json!(widest("ld")));
    found.insert("store_bytes".into(), json!(widest("st")));
    found
}

/// Bytes that one unit reads (`ld`) or writes (`st`) at once, if this line of PTX has such an access to
/// global memory: `ld.global.nc.v4.b32 …` has 16, as has `cp.async.cg.shared.global [%rd1], [%rd2], 16;`.
fn access_bytes(line: &str, kind: &str) -> Option<u32> {
    let mut words = line.split_whitespace();
    let instruction = words.find(|word| !word.starts_with('@'))?;
    if kind == "ld" && instruction.starts_with("cp.async.c") && instruction.contains(".global") {
        return line.split(',').nth(2)?.trim().trim_end_matches(';').parse().ok();
    }
    let parts: Vec<&str> = instruction.split('.').collect();
    if parts.first() != Some(&kind) || !parts.contains(&"global") {
        return None;
    }
    let number = |part: &str| part.trim_start_matches(char::is_alphabetic).parse::<u32>().ok();
    let elements = parts.iter().find(|part| part.starts_with('v')).and_then(|part| number(part));
    Some(elements.unwrap_or(1) * number(parts.last()?)? / 8)
}

/// What NVIDIA's assembler says.
fn assembled(ptxas: &Path, target: Target, ptx: &str) -> Result<Map<String, Value>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", ptxas.display());
    // Hopper's PTX may be for sm_90a, which the text says itself.
    let arch = (ptx.lines())
        .find_map(|line| line.trim().strip_prefix(".target "))
        .map_or(target.name(), |names| names.split(',').next().unwrap_or(names).trim());
    let input = std::env::temp_dir().join(format!("gpu-compile-{}.ptx", std::process::id()));
    std::fs::write(&input, ptx).map_err(failed)?;
    let output = Command::new(ptxas)
        .args(["-v", "-arch", arch, "-o", "/dev/null"])
        .arg(&input)
        .stdin(Stdio::null())
        .output()
        .map_err(failed)?;
    let said = String::from_utf8_lossy(&output.stderr);
    // It is ours and temporary; leaving it behind would not matter.
    let _ = std::fs::remove_file(&input);
    if !output.status.success() {
        return Ok(Map::from_iter([("assembler_error".into(), json!(said))]));
    }
    let before = |unit: &str| -> u64 {
        let parts: Vec<&str> = said.split(unit).collect();
        parts[..parts.len() - 1]
            .iter()
            .filter_map(|part| part.split_whitespace().last()?.parse::<u64>().ok())
            .sum()
    };
    let spilled = before(" bytes spill stores") + before(" bytes spill loads");
    // What was spilled lies in the stack frame too, in whole words of 8 bytes.
    let frame_of_spills = before(" bytes spill stores").next_multiple_of(8);
    Ok(Map::from_iter([
        ("registers".into(), json!(before(" registers"))),
        ("spilled_bytes".into(), json!(spilled)),
        ("stack_bytes".into(), json!(before(" bytes stack frame").saturating_sub(frame_of_spills))),
    ]))
}

/// Type of the note in which LLVM describes the kernels of a code object, as MessagePack
/// (LLVM, "User Guide for AMDGPU Backend", Code Object V3 Metadata).
const AMDGPU_METADATA: NoteType = NoteType(32);

/// What LLVM says of an AMD code object.
fn described(object: &[u8]) -> Result<Map<String, Value>, String> {
    let metadata = metadata(object).map_err(|error| format!("a code object: {error}"))?;
    let metadata = metadata.ok_or("a code object without a description of its kernel")?;
    let kernel = of(&metadata, "amdhsa.kernels").and_then(|kernels| kernels.as_array()?.first());
    let number = |name: &str| {
        let value = kernel.and_then(|kernel| of(kernel, name)?.as_u64());
        value.ok_or_else(|| format!("a code object does not tell its {name}"))
    };
    // A spilled register is a word of each unit, stored once and loaded once at least.
    let spilled = number(".vgpr_spill_count")? * 4;
    Ok(Map::from_iter([
        ("registers".into(), json!(number(".vgpr_count")?)),
        ("scalar_registers".into(), json!(number(".sgpr_count")?)),
        ("spilled_bytes".into(), json!(2 * spilled)),
        (
            "stack_bytes".into(),
            json!(number(".private_segment_fixed_size")?.saturating_sub(spilled)),
        ),
    ]))
}

fn metadata(object: &[u8]) -> Result<Option<Pack>, Box<dyn std::error::Error>> {
    let header = object::elf::FileHeader64::<Endianness>::parse(object)?;
    let endian = header.endian()?;
    for section in header.sections(endian, object)?.iter() {
        let Some(mut notes) = section.notes(endian, object)? else {
            continue;
        };
        while let Some(note) = notes.next()? {
            if note.name() == b"AMDGPU" && note.n_type(endian) == AMDGPU_METADATA {
                return Ok(Some(rmpv::decode::read_value(&mut note.desc())?));
            }
        }
    }
    Ok(None)
}

fn of<'a>(map: &'a Pack, key: &str) -> Option<&'a Pack> {
    let mut entries = map.as_map()?.iter();
    entries.find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_of_an_access_is_read_from_ptx() {
        for (line, kind, bytes) in [
            ("ld.global.nc.v4.b32 \t{%r1, %r2, %r3, %r4}, [%rd1];", "ld", Some(16)),
            ("@%p1 st.global.v2.b64 [%rd1], {%rd2, %rd3};", "st", Some(16)),
            ("st.global.b16 [%rd1], %rs1;", "st", Some(2)),
            ("cp.async.cg.shared.global [%r1], [%rd1], 16, %r2;", "ld", Some(16)),
            ("cp.async.commit_group;", "ld", None),
            ("ld.param.b64 %rd1, [p];", "ld", None),
            ("ld.shared.v4.b32 {%r1, %r2, %r3, %r4}, [%r5];", "ld", None),
            ("ld.global.b32 %r1, [%rd1];", "st", None),
        ] {
            assert_eq!(access_bytes(line, kind), bytes, "{line}");
        }
    }
}
