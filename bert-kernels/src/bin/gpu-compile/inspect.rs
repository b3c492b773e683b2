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
fn tensor_instructions(target: Target) -> &'static [(&'static str, &'static str)] {
    match target {
        Target::Sm80 | Target::Sm90 => &[("mma", "mma.sync"), ("ldmatrix", "ldmatrix.sync")],
        Target::Gfx942 => &[("mfma", "v_mfma_f32_16x16x16_")],
        Target::Gfx1100 => &[("wmma", "v_wmma_f32_16x16x16_")],
    }
}

/// A kernel on a target, as a line of the report.
///
/// `registers` are those of a unit, vector registers on AMD; `spilled_bytes` of a unit lie in memory
/// instead, stores and loads counted apart, and `stack_bytes` are its arrays that have an index;
/// `load_bytes` and `store_bytes` tell the widest access to memory, asynchronous copies among them. AMD's
/// tensor kernels tell theirs to shared memory too, the widest and the narrowest load.
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
                entry.extend(instructions(target, &kernel.kernel, &ptx, access_bytes));
                if let Some(ptxas) = ptxas {
                    entry.extend(assembled(ptxas, target, &ptx)?);
                }
            } else {
                entry.extend(described(&code.bytes)?);
                let assembly = code.assembly.as_ref();
                let assembly =
                    assembly.ok_or("CubeCL did not keep the assembly of AMD's kernels")?;
                entry.extend(instructions(target, &kernel.kernel, assembly, access_bytes_amd));
                if kernel.kernel.contains(TENSOR_KERNELS) {
                    let loads = || assembly.lines().filter_map(shared_load_bytes);
                    entry.insert("shared_load_bytes".into(), json!(loads().max()));
                    entry.insert("least_shared_load_bytes".into(), json!(loads().min()));
                }
            }
        }
        Err(reason) => {
            entry.insert("error".into(), json!(reason));
        }
    }
    Ok(Value::Object(entry))
}

/// `access` tells the bytes of an access, as [`access_bytes`] does.
fn instructions(
    target: Target,
    kernel: &str,
    text: &str,
    access: fn(&str, &str) -> Option<u32>,
) -> Map<String, Value> {
    let mut found = Map::new();
    if kernel.contains(TENSOR_KERNELS) {
        for (key, instruction) in tensor_instructions(target) {
            found.insert((*key).into(), json!(text.contains(instruction)));
        }
    }
    let widest = |kind: &str| text.lines().filter_map(|line| access(line, kind)).max();
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

/// [`access_bytes`] of AMD's assembly: `global_load_dwordx4 …` has 16, as has `global_load_b128 …`.
/// Loads of a whole plane (`s_load_dwordx4`) are of what does not differ between units.
fn access_bytes_amd(line: &str, kind: &str) -> Option<u32> {
    let instruction = line.split_whitespace().next()?;
    let (space, access) = instruction.split_once('_')?;
    let width = match kind {
        "ld" => access.strip_prefix("load_")?,
        _ => access.strip_prefix("store_")?,
    };
    matches!(space, "global" | "flat" | "buffer").then(|| bytes_of_width(width))?
}

/// Bytes that a unit takes from neighbouring words of AMD's shared memory: `ds_read2_b64 …` and
/// `ds_load_2addr_b64 …` read from two places.
fn shared_load_bytes(line: &str) -> Option<u32> {
    let instruction = line.split_whitespace().next()?;
    let width = [
        "ds_read_",
        "ds_read2_",
        "ds_read2st64_",
        "ds_load_2addr_stride64_",
        "ds_load_2addr_",
        "ds_load_",
    ]
    .iter()
    .find_map(|prefix| instruction.strip_prefix(prefix))?;
    bytes_of_width(width)
}

/// Bytes of `dwordx4`, `b128`, `ushort`, `u16`, `short_d16_hi`, ….
fn bytes_of_width(width: &str) -> Option<u32> {
    let width =
        width.split("_d16").next()?.trim_start_matches("d16_hi_").trim_start_matches("d16_");
    match width {
        "dword" => Some(4),
        "ushort" | "sshort" | "short" => Some(2),
        "ubyte" | "sbyte" | "byte" => Some(1),
        _ => match width.strip_prefix("dwordx") {
            Some(words) => words.parse::<u32>().ok().map(|words| 4 * words),
            None => {
                let bits = width.trim_start_matches(char::is_alphabetic).parse::<u32>();
                bits.ok().map(|bits| bits / 8)
            }
        },
    }
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
    fn the_width_of_an_access_is_read_from_amd_assembly() {
        for (line, kind, bytes) in [
            ("\tglobal_load_dwordx4 v[86:89], v[94:95], off", "ld", Some(16)),
            ("\tglobal_load_b128 v[2:5], v[0:1], off", "ld", Some(16)),
            ("\tglobal_load_d16_hi_b16 v2, v[0:1], off", "ld", Some(2)),
            ("\tglobal_load_ushort v2, v[0:1], off", "ld", Some(2)),
            ("\tglobal_store_short_d16_hi v[0:1], v2, off", "st", Some(2)),
            ("\tglobal_store_dwordx2 v[0:1], v[2:3], off", "st", Some(8)),
            ("\tglobal_store_dwordx2 v[0:1], v[2:3], off", "ld", None),
            ("\ts_load_dwordx4 s[0:3], s[4:5], 0x0", "ld", None),
            ("\tds_read_b128 v[0:3], v4", "ld", None),
            ("", "ld", None),
        ] {
            assert_eq!(access_bytes_amd(line, kind), bytes, "{line}");
        }
        for (line, bytes) in [
            ("\tds_read_b128 v[0:3], v4 offset:1024", Some(16)),
            ("\tds_read2_b64 v[0:3], v4 offset0:1 offset1:2", Some(8)),
            ("\tds_load_2addr_stride64_b32 v[0:1], v4", Some(4)),
            ("\tds_load_u16 v0, v4", Some(2)),
            ("\tds_write_b128 v4, v[0:3]", None),
        ] {
            assert_eq!(shared_load_bytes(line), bytes, "{line}");
        }
    }

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
