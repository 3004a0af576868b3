//! Batches that their producer compressed.

use anyhow::bail;
use bytes::Bytes;
use kafka_protocol::records::Compression;

/// The records of a batch as they were before they were compressed.
pub(crate) fn decompress(compressed: &mut Bytes, how: Compression) -> anyhow::Result<Bytes> {
    match how {
        Compression::None => Ok(std::mem::take(compressed)),
        other => bail!("it is compressed with {other:?}, which isn't available"),
    }
}
