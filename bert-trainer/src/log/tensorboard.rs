//! Event files that TensorBoard reads.
//!
//! A file is a sequence of TFRecords: length (u64), masked CRC-32C of the length, payload, masked
//! CRC-32C of the payload, all little-endian
//! (<https://www.tensorflow.org/tutorials/load_data/tfrecord>).
//! A payload is a protocol buffer `tensorflow.Event` (`event.proto`, `summary.proto`), of which
//! four fields are enough for scalars; they are encoded here by hand.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::atomic::WriteError;

/// Name of the directory of event files inside an output directory.
pub const TENSORBOARD_DIRECTORY: &str = "tensorboard";

/// Writes scalars for TensorBoard, `tensorboard --logdir OUTPUT`.
#[derive(Debug)]
pub struct TensorBoard {
    path: PathBuf,
    file: File,
}

impl TensorBoard {
    /// Begins an event file in `directory/tensorboard/` for a run that has done `step` steps,
    /// making what is missing. TensorBoard forgets what earlier files say of later steps.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn open(directory: &Path, step: u64) -> Result<Self, WriteError> {
        let directory = directory.join(TENSORBOARD_DIRECTORY);
        let now = wall_time();
        // TensorBoard reads files in the order of their names.
        let name = format!(
            "events.out.tfevents.{:010}.{:09}.{}",
            now as u64,
            (now.fract() * 1e9) as u64,
            std::process::id()
        );
        let path = directory.join(name);
        let fail = |source| WriteError::new(&path, "begin the event file", source);
        fs::create_dir_all(&directory).map_err(fail)?;
        let file = OpenOptions::new().append(true).create_new(true).open(&path).map_err(fail)?;
        let mut board = Self { path, file };
        board.write(&Event::version(now))?;
        board.write(&Event::session_start(now, step + 1))?;
        Ok(board)
    }

    /// Adds the point (`step`, `value`) to the curve `tag`; it is with the operating system when
    /// this returns.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn scalar(&mut self, step: u64, tag: &str, value: f32) -> Result<(), WriteError> {
        self.write(&Event::scalar(wall_time(), step, tag, value))
    }

    fn write(&mut self, event: &Event) -> Result<(), WriteError> {
        write_record(&mut self.file, &event.0)
            .map_err(|source| WriteError::new(&self.path, "write the event file", source))
    }
}

/// Seconds since 1970.
fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// One write a record: a killed process leaves whole records.
fn write_record(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(payload.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(payload);
    record.extend(masked_crc(payload).to_le_bytes());
    out.write_all(&record)
}

/// An encoded `tensorflow.Event`.
struct Event(Vec<u8>);

impl Event {
    fn new(wall_time: f64, step: u64) -> Self {
        let mut bytes = Vec::new();
        put_double(&mut bytes, 1, wall_time);
        put_varint_field(&mut bytes, 2, step);
        Self(bytes)
    }

    fn version(wall_time: f64) -> Self {
        let mut event = Self::new(wall_time, 0);
        put_bytes(&mut event.0, 3, b"brain.Event:2");
        event
    }

    /// `SessionLog { status: START }`: what was said of `step` and later steps is void.
    fn session_start(wall_time: f64, step: u64) -> Self {
        let mut log = Vec::new();
        put_varint_field(&mut log, 1, 1);
        let mut event = Self::new(wall_time, step);
        put_bytes(&mut event.0, 7, &log);
        event
    }

    /// `Summary { value: [Value { tag, simple_value }] }`
    fn scalar(wall_time: f64, step: u64, tag: &str, number: f32) -> Self {
        let mut value = Vec::new();
        put_bytes(&mut value, 1, tag.as_bytes());
        put_key(&mut value, 2, FIXED32);
        value.extend(number.to_le_bytes());
        let mut summary = Vec::new();
        put_bytes(&mut summary, 1, &value);
        let mut event = Self::new(wall_time, step);
        put_bytes(&mut event.0, 5, &summary);
        event
    }
}

// Wire types of protocol buffers.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_key(out: &mut Vec<u8>, field: u64, wire_type: u64) {
    put_varint(out, field << 3 | wire_type);
}

fn put_varint_field(out: &mut Vec<u8>, field: u64, value: u64) {
    put_key(out, field, VARINT);
    put_varint(out, value);
}

fn put_double(out: &mut Vec<u8>, field: u64, value: f64) {
    put_key(out, field, FIXED64);
    out.extend(value.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_key(out, field, DELIMITED);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// CRC-32C (Castagnoli, reflected) by table.
const CRC_TABLE: [u32; 256] = {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| CRC_TABLE[(crc as u8 ^ byte) as usize] ^ crc >> 8)
}

/// TFRecord's mask, so that a CRC over a CRC does not degenerate.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_crc_has_its_published_check_values() {
        // RFC 3720, B.4, and the catalogue's check value.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    /// Bytes made with `tensorboard.compat.proto` 2.21:
    /// `Event(wall_time=1.5, step=300, summary=Summary(value=[Value(tag="a", simple_value=2)]))`.
    #[test]
    fn events_are_the_bytes_of_tensorboards_own_encoder() {
        let expected =
            b"\x09\0\0\0\0\0\0\xf8\x3f\x10\xac\x02\x2a\x0a\x0a\x08\x0a\x01a\x15\0\0\0\x40";
        assert_eq!(Event::scalar(1.5, 300, "a", 2.0).0, expected);
        let expected = b"\x09\0\0\0\0\0\0\xf8\x3f\x10\x05\x3a\x02\x08\x01";
        assert_eq!(Event::session_start(1.5, 5).0, expected);
    }

    #[test]
    fn a_file_is_a_sequence_of_whole_records() {
        let dir = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::open(dir.path(), 4).unwrap();
        board.scalar(5, "loss/mlm", 1.25).unwrap();
        let bytes = fs::read(&board.path).unwrap();
        let mut rest = bytes.as_slice();
        let mut payloads = Vec::new();
        while let Some((length, after)) = rest.split_at_checked(8) {
            let count = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            assert_eq!(after[..4], masked_crc(length).to_le_bytes());
            let payload = &after[4..4 + count];
            assert_eq!(after[4 + count..8 + count], masked_crc(payload).to_le_bytes());
            payloads.push(payload);
            rest = &after[8 + count..];
        }
        assert!(rest.is_empty());
        assert_eq!(payloads.len(), 3);
        assert!(payloads[0].ends_with(b"brain.Event:2"));
        assert!(payloads[2].ends_with(&1.25f32.to_le_bytes()));
        // A resumed run in the same directory begins a file of its own.
        TensorBoard::open(dir.path(), 4).unwrap();
        assert_eq!(fs::read_dir(dir.path().join(TENSORBOARD_DIRECTORY)).unwrap().count(), 2);
    }
}
