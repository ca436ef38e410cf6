//! Takes a compressed body apart piece by piece, never beyond its limit.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

use super::room::Share;

/// How a body is compressed, by its `content-encoding`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
}

impl Encoding {
    /// The names to offer whoever used another.
    pub(super) const KNOWN: &'static str = "gzip, deflate, zstd";

    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Some(Self::Identity),
            b"gzip" | b"x-gzip" => Some(Self::Gzip),
            b"deflate" => Some(Self::Deflate),
            b"zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Why bytes were not taken.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// More bytes came out than may.
    TooLarge,
    /// The process has no room for more.
    NoRoom,
    /// They are not what their encoding says.
    Malformed,
}

/// What came out so far, bounded while it grows: one piece may hold a thousand
/// times its size.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    share: Share,
    /// Bytes that the body takes besides.
    besides: usize,
    stop: Option<Stop>,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let length = self.bytes.len() + piece.len();
        if length > self.limit {
            self.stop = Some(Stop::TooLarge);
        } else if !self.share.hold(self.besides + length) {
            self.stop = Some(Stop::NoRoom);
        }
        if self.stop.is_some() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body on its way out of its encoding.
pub(super) struct Decoding(Inner);

enum Inner {
    Identity(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
    /// Decoders that take pieces do not tell a body that is cut short from a
    /// whole one, so these are decoded at the end.
    Whole(fn(&[u8], &mut Bounded) -> io::Result<()>, Vec<u8>, Bounded),
}

impl Decoding {
    pub(super) fn new(encoding: Encoding, limit: usize, share: Share) -> Self {
        let out = Bounded { bytes: Vec::new(), limit, share, besides: 0, stop: None };
        Self(match encoding {
            Encoding::Identity => Inner::Identity(out),
            Encoding::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(out))),
            Encoding::Deflate => Inner::Whole(inflate, Vec::new(), out),
            Encoding::Zstd => Inner::Whole(unzstd, Vec::new(), out),
        })
    }

    /// Takes the next piece.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(), Stop> {
        match &mut self.0 {
            Inner::Identity(out) => out.write_all(piece).map_err(|_| stop(out)),
            Inner::Gzip(decoder) => decoder.write_all(piece).map_err(|_| stop(decoder.get_mut())),
            Inner::Whole(_, whole, out) => {
                out.besides += piece.len();
                if !out.share.hold(out.besides) {
                    return Err(Stop::NoRoom);
                }
                whole.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// The whole body and the room it takes, once every piece was taken.
    pub(super) fn finish(self) -> Result<(Vec<u8>, Share), Stop> {
        let out = match self.0 {
            Inner::Identity(out) => out,
            Inner::Gzip(mut decoder) => {
                decoder.try_finish().map_err(|_| stop(decoder.get_mut()))?;
                decoder.finish().map_err(|_| Stop::Malformed)?
            }
            Inner::Whole(decode, whole, mut out) => {
                decode(&whole, &mut out).map_err(|_| stop(&mut out))?;
                out
            }
        };
        Ok((out.bytes, out.share))
    }
}

/// Why a decoder failed: because nothing more was taken from it, or because of
/// what it was given.
fn stop(out: &mut Bounded) -> Stop {
    out.stop.take().unwrap_or(Stop::Malformed)
}

/// `deflate` is the zlib format (RFC 9110, 8.4.1.2).
fn inflate(mut whole: &[u8], out: &mut Bounded) -> io::Result<()> {
    let mut decoder = flate2::Decompress::new(true);
    let mut piece = vec![0; 32 * 1024];
    loop {
        let (read, written) = (decoder.total_in(), decoder.total_out());
        let status = decoder.decompress(whole, &mut piece, flate2::FlushDecompress::None)?;
        // Both are at most as long as what was handed in.
        let read = (decoder.total_in() - read) as usize;
        let written = (decoder.total_out() - written) as usize;
        whole = &whole[read..];
        out.write_all(&piece[..written])?;
        match status {
            flate2::Status::StreamEnd if whole.is_empty() => return Ok(()),
            flate2::Status::StreamEnd => return Err(io::ErrorKind::InvalidData.into()),
            _ if read == 0 && written == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

fn unzstd(whole: &[u8], out: &mut Bounded) -> io::Result<()> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
    // A window of 8 MiB is what every decoder must take (RFC 8878), and all that
    // one gets here.
    decoder.window_log_max(23)?;
    io::copy(&mut decoder, out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::door::room::{Room, Sender};

    const TEXT: &[u8] =
        b"a body that is long enough to be worth compressing, compressing, compressing";

    fn compressed(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match encoding {
            Encoding::Identity => return bytes.to_vec(),
            Encoding::Gzip => flate2::bufread::GzEncoder::new(bytes, flate2::Compression::best())
                .read_to_end(&mut out)
                .unwrap(),
            Encoding::Deflate => {
                flate2::bufread::ZlibEncoder::new(bytes, flate2::Compression::best())
                    .read_to_end(&mut out)
                    .unwrap()
            }
            Encoding::Zstd => return zstd::encode_all(bytes, 3).unwrap(),
        };
        out
    }

    fn decode(
        encoding: Encoding,
        bytes: &[u8],
        piece: usize,
        limit: usize,
    ) -> Result<Vec<u8>, Stop> {
        let mut decoding =
            Decoding::new(encoding, limit, Room::of_mebibytes(2).share(Sender::Caller));
        for piece in bytes.chunks(piece) {
            decoding.take(piece)?;
        }
        decoding.finish().map(|(bytes, _)| bytes)
    }

    const ALL: [Encoding; 4] =
        [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Zstd];

    #[test]
    fn a_body_comes_out_whole_however_it_is_cut() {
        for encoding in ALL {
            let bytes = compressed(encoding, TEXT);
            for piece in [1, 7, 10_000] {
                let decoded = decode(encoding, &bytes, piece, TEXT.len());
                assert_eq!(decoded.as_deref(), Ok(TEXT), "{encoding:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn no_body_comes_out_beyond_its_limit() {
        for encoding in ALL {
            let bytes = compressed(encoding, &vec![0; 500_000]);
            let decoded = decode(encoding, &bytes, 10_000, 499_999);
            assert_eq!(decoded, Err(Stop::TooLarge), "{encoding:?}");
            let bytes = compressed(encoding, &vec![0; 1_700_000]);
            let decoded = decode(encoding, &bytes, 10_000, 2_000_000);
            assert_eq!(decoded, Err(Stop::NoRoom), "{encoding:?}");
        }
    }

    #[test]
    fn a_body_that_is_cut_short_or_forged_is_malformed() {
        for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
            let bytes = compressed(encoding, TEXT);
            let short = decode(encoding, &bytes[..bytes.len() - 9], 10, 10_000);
            assert_eq!(short, Err(Stop::Malformed), "{encoding:?}");
            assert_eq!(decode(encoding, TEXT, 10, 10_000), Err(Stop::Malformed), "{encoding:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_bytes_come_are_taken_or_refused(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
            piece in 1_usize..400,
        ) {
            for encoding in ALL {
                let _ = decode(encoding, &bytes, piece, 10_000);
            }
        }
    }
}
