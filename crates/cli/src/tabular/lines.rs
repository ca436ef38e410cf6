//! Lines of bytes with their numbers, bounded in length, that can be put back.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, BufRead, Read},
};

use super::LONGEST_RECORD_BYTES;

/// A line with its end (`\n`, `\r\n`, or nothing at the end of the file).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
    /// The line was longer than [`LONGEST_RECORD_BYTES`]; the rest of it has been skipped.
    pub(super) cut: bool,
}

impl Line {
    /// The line without its end.
    pub(super) fn content(&self) -> &[u8] {
        without_end(&self.bytes)
    }
}

/// `bytes` without a line end.
pub(super) fn without_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

pub(super) struct Lines {
    bytes: Box<dyn BufRead + Send>,
    /// Lines that were put back, next first.
    returned: VecDeque<Line>,
    read: u64,
}

impl fmt::Debug for Lines {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lines").field("read", &self.read).finish_non_exhaustive()
    }
}

impl Lines {
    pub(super) fn new(bytes: Box<dyn BufRead + Send>) -> Self {
        Self { bytes, returned: VecDeque::new(), read: 0 }
    }

    /// The number the next line will have.
    pub(super) fn next_number(&self) -> u64 {
        self.returned.front().map_or(self.read + 1, |line| line.number)
    }

    /// The next line; `None` at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        if let Some(line) = self.returned.pop_front() {
            return Ok(Some(line));
        }
        let mut bytes = Vec::new();
        self.read_up_to(LONGEST_RECORD_BYTES, &mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.read += 1;
        let cut = bytes.len() >= LONGEST_RECORD_BYTES && !bytes.ends_with(b"\n");
        if cut {
            let mut rest = Vec::new();
            loop {
                rest.clear();
                self.read_up_to(LONGEST_RECORD_BYTES, &mut rest)?;
                if rest.is_empty() || rest.ends_with(b"\n") {
                    break;
                }
            }
        }
        Ok(Some(Line { number: self.read, bytes, cut }))
    }

    /// Puts lines back, so that they come again in the same order.
    pub(super) fn put_back(&mut self, lines: Vec<Line>) {
        for line in lines.into_iter().rev() {
            self.returned.push_front(line);
        }
    }

    fn read_up_to(&mut self, limit: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        (&mut self.bytes).take(limit as u64).read_until(b'\n', buffer)?;
        Ok(())
    }
}
