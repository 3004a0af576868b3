//! Batches that their producer compressed: gzip, Snappy, LZ4 and Zstandard, each in pure Rust.

use std::io::Read;

use anyhow::{Context, ensure};
use bytes::{Buf, Bytes};
use kafka_protocol::records::Compression;

use crate::limits::BATCH_DECOMPRESSED_BYTES_MAX as BYTES_MAX;

/// What Snappy's blocks begin with where Java wrote them: eight bytes and two versions.
const JAVA_SNAPPY: &[u8] = b"\x82SNAPPY\0";
const JAVA_SNAPPY_HEAD_BYTES: usize = 16;

/// The records of a batch as they were before they were compressed.
pub(crate) fn decompress(compressed: &mut Bytes, how: Compression) -> anyhow::Result<Bytes> {
    let compressed = std::mem::take(compressed);
    match how {
        Compression::None => Ok(compressed),
        Compression::Gzip => all(flate2::read::MultiGzDecoder::new(&*compressed)),
        Compression::Snappy => snappy(compressed),
        Compression::Lz4 => all(lz4_flex::frame::FrameDecoder::new(&*compressed)),
        Compression::Zstd => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(&*compressed);
            all(decoder.map_err(|error| anyhow::anyhow!("{error}"))?)
        }
    }
    .with_context(|| format!("its {how:?} can't be undone"))
}

/// All that a decoder gives, as far as it may be long.
fn all(decoder: impl Read) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    decoder.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() <= BYTES_MAX, "it is longer than {BYTES_MAX} bytes");
    Ok(bytes.into())
}

/// Java writes blocks, each behind its length; others write one block.
fn snappy(mut compressed: Bytes) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    if !compressed.starts_with(JAVA_SNAPPY) {
        add_block(&mut bytes, &compressed)?;
        return Ok(bytes.into());
    }
    ensure!(compressed.len() >= JAVA_SNAPPY_HEAD_BYTES, "its head is cut off");
    compressed.advance(JAVA_SNAPPY_HEAD_BYTES);
    while compressed.has_remaining() {
        ensure!(compressed.len() >= 4, "a block's length is cut off");
        let length = usize::try_from(compressed.get_u32())?;
        ensure!(length <= compressed.len(), "a block is cut off");
        add_block(&mut bytes, &compressed.split_to(length))?;
    }
    Ok(bytes.into())
}

fn add_block(bytes: &mut Vec<u8>, block: &[u8]) -> anyhow::Result<()> {
    let length = snap::raw::decompress_len(block)?;
    ensure!(
        bytes.len().saturating_add(length) <= BYTES_MAX,
        "it is longer than {BYTES_MAX} bytes"
    );
    bytes.extend(snap::raw::Decoder::new().decompress_vec(block)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn text() -> Vec<u8> {
        b"Buy groceries. ".repeat(1_000)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).expect("written");
        encoder.finish().expect("written")
    }

    fn lz4(text: &[u8]) -> Vec<u8> {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(text).expect("written");
        encoder.finish().expect("written")
    }

    fn block(text: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(text).expect("written")
    }

    /// As Java writes it, in blocks of this length.
    fn java(text: &[u8], length: usize) -> Vec<u8> {
        let mut bytes = [JAVA_SNAPPY, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
        for part in text.chunks(length) {
            let block = block(part);
            bytes.extend((block.len() as u32).to_be_bytes());
            bytes.extend(block);
        }
        bytes
    }

    fn decompressed(bytes: Vec<u8>, how: Compression) -> anyhow::Result<Bytes> {
        decompress(&mut bytes.into(), how)
    }

    #[test]
    fn what_was_compressed_is_as_it_was() {
        let text = text();
        let zstd = ruzstd::encoding::compress_to_vec(&*text, ruzstd::encoding::CompressionLevel::Fastest);
        for (bytes, how) in [
            (text.clone(), Compression::None),
            (gzip(&text), Compression::Gzip),
            (block(&text), Compression::Snappy),
            (java(&text, 700), Compression::Snappy),
            (lz4(&text), Compression::Lz4),
            (zstd, Compression::Zstd),
        ] {
            assert_eq!(decompressed(bytes, how).expect("well formed"), text, "{how:?}");
        }
    }

    #[test]
    fn half_of_it_and_too_much_are_errors() {
        let whole = text();
        let large = vec![0; BYTES_MAX + 1];
        for (bytes, how) in [
            (gzip(&whole), Compression::Gzip),
            (block(&whole), Compression::Snappy),
            (java(&whole, 700), Compression::Snappy),
            (lz4(&whole), Compression::Lz4),
        ] {
            let half = bytes[..bytes.len() / 2].to_vec();
            assert!(decompressed(half, how).is_err(), "{how:?}");
        }
        for (bytes, how) in [
            (gzip(&large), Compression::Gzip),
            (block(&large), Compression::Snappy),
            (lz4(&large), Compression::Lz4),
        ] {
            let error = decompressed(bytes, how).expect_err("too long");
            assert!(format!("{error:#}").contains("is longer than"), "{error:#}");
        }
    }
}
