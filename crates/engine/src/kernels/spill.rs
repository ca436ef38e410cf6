//! Partial results in a file, by bucket.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};

/// A file without a name: it is gone when nobody has it open, whatever becomes of the process.
#[derive(Debug)]
pub(super) struct Spilled {
    file: File,
    end: u64,
    /// For each bucket where its parts lie, in the order in which they were written: first byte and length.
    parts: Vec<Vec<(u64, u64)>>,
}

impl Spilled {
    /// Nothing in so many buckets.
    pub(super) fn new(folder: &Path, buckets: usize) -> io::Result<Self> {
        let file = tempfile::tempfile_in(folder)?;
        Ok(Self { file, end: 0, parts: vec![Vec::new(); buckets] })
    }

    /// Adds a part to a bucket.
    pub(super) fn write(&mut self, bucket: usize, part: &impl Serialize) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.end))?;
        let mut writer = Counted { inner: BufWriter::new(&self.file), bytes: 0 };
        serde_json::to_writer(&mut writer, part)?;
        writer.inner.flush()?;
        let bytes = writer.bytes;
        self.parts[bucket].push((self.end, bytes));
        self.end += bytes;
        Ok(())
    }

    /// Shows the parts of a bucket in the order in which they were written.
    pub(super) fn read<T: DeserializeOwned>(
        &mut self,
        bucket: usize,
        mut see: impl FnMut(T),
    ) -> io::Result<()> {
        let mut text = Vec::new();
        for (start, bytes) in std::mem::take(&mut self.parts[bucket]) {
            self.file.seek(SeekFrom::Start(start))?;
            text.clear();
            (&self.file).take(bytes).read_to_end(&mut text)?;
            see(serde_json::from_slice(&text)?);
        }
        Ok(())
    }
}

/// Counts what is written.
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_its_parts_in_order_and_no_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut spilled = Spilled::new(folder.path(), 2).expect("a file");
        for (bucket, part) in [(0, vec![1u64, 2]), (1, vec![3]), (0, vec![u64::MAX])] {
            spilled.write(bucket, &part).expect("a part");
        }
        let mut found: Vec<Vec<u64>> = Vec::new();
        spilled.read(0, |part| found.push(part)).expect("parts");
        assert_eq!(found, [vec![1, 2], vec![u64::MAX]]);
        let named = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(named, 0, "the file has no name that would outlive the process");
    }
}
