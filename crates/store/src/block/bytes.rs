//! Numbers of variable length, and reading without running over the end.

use super::NotABlock;

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Reads from bytes whose every length is checked.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], NotABlock> {
        let rest = &self.bytes[self.position..];
        let taken = rest.get(..length).ok_or(NotABlock("it ends too early"))?;
        self.position += length;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, NotABlock> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn varint(&mut self) -> Result<u64, NotABlock> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(NotABlock("a number of more than 64 bits"))
    }

    pub(super) fn zigzag(&mut self) -> Result<i64, NotABlock> {
        let folded = self.varint()?;
        Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
    }

    /// A varint that is at most so large.
    pub(super) fn length(&mut self, most: usize) -> Result<usize, NotABlock> {
        usize::try_from(self.varint()?)
            .ok()
            .filter(|length| *length <= most)
            .ok_or(NotABlock("a length beyond its limit"))
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), NotABlock> {
        if self.position == self.bytes.len() {
            Ok(())
        } else {
            Err(NotABlock("bytes after its end"))
        }
    }
}
