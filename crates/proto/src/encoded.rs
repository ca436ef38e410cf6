//! Messages that are not decoded yet.

use std::fmt;
use std::marker::PhantomData;

use prost::bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::encoding::{DecodeContext, WireType, decode_varint, encode_key, encode_varint};
use prost::{DecodeError, Message};

/// A message as the bytes it came as. A server that takes it in place of the
/// message may count the bytes before it spends memory on them, and may read
/// them its own way; on the wire nothing changes. See `RAW` in `build.rs` for
/// the RPCs that do.
pub struct Encoded<M> {
    bytes: Bytes,
    message: PhantomData<fn() -> M>,
}

impl<M: Message + Default> Encoded<M> {
    /// The bytes, unchecked.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The message.
    ///
    /// # Errors
    /// When the bytes are no such message.
    pub fn decode(&self) -> Result<M, DecodeError> {
        M::decode(self.bytes.clone())
    }
}

impl<M> From<Bytes> for Encoded<M> {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, message: PhantomData }
    }
}

impl<M> Default for Encoded<M> {
    fn default() -> Self {
        Bytes::new().into()
    }
}

impl<M> fmt::Debug for Encoded<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({} bytes)", self.bytes.len())
    }
}

impl<M> Message for Encoded<M> {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.bytes);
    }

    /// Takes all bytes as they are, without a copy where the buffer allows it.
    fn merge(&mut self, mut buf: impl Buf) -> Result<(), DecodeError> {
        let more = buf.copy_to_bytes(buf.remaining());
        if self.bytes.is_empty() {
            self.bytes = more;
        } else {
            // Messages merge by following one another.
            self.bytes = [&*self.bytes, &*more].concat().into();
        }
        Ok(())
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut field = BytesMut::from(&*self.bytes);
        encode_key(tag, wire_type, &mut field);
        match wire_type {
            WireType::Varint => encode_varint(decode_varint(buf)?, &mut field),
            WireType::LengthDelimited => {
                let mut value: Vec<u8> = Vec::new();
                prost::encoding::bytes::merge(wire_type, &mut value, buf, context)?;
                encode_varint(value.len() as u64, &mut field);
                field.put_slice(&value);
            }
            WireType::SixtyFourBit => {
                let mut value = 0;
                prost::encoding::fixed64::merge(wire_type, &mut value, buf, context)?;
                field.put_u64_le(value);
            }
            WireType::ThirtyTwoBit => {
                let mut value = 0;
                prost::encoding::fixed32::merge(wire_type, &mut value, buf, context)?;
                field.put_u32_le(value);
            }
            // Proto3 has no groups; what one holds is skipped, as prost does.
            WireType::StartGroup | WireType::EndGroup => {
                return prost::encoding::skip_field(wire_type, tag, buf, context);
            }
        }
        self.bytes = field.freeze();
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.bytes.len()
    }

    fn clear(&mut self) {
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingestion::v1::IngestEventsRequest;

    #[test]
    fn a_message_comes_out_as_it_went_in() {
        let request = IngestEventsRequest { source: "web".to_owned(), events: Vec::new() };
        let bytes = request.encode_to_vec();
        let encoded = Encoded::<IngestEventsRequest>::decode_from(&bytes);
        assert_eq!(encoded.encode_to_vec(), bytes);
        assert_eq!(encoded.decode().unwrap(), request);
    }

    #[test]
    fn a_message_within_another_is_kept_field_by_field() {
        let request = IngestEventsRequest { source: "web".to_owned(), events: Vec::new() };
        let mut encoded = Encoded::<IngestEventsRequest>::default();
        encoded.merge_length_delimited(&*request.encode_length_delimited_to_vec()).unwrap();
        assert_eq!(encoded.decode().unwrap(), request);
    }

    impl<M: Message + Default> Encoded<M> {
        fn decode_from(bytes: &[u8]) -> Self {
            <Self as Message>::decode(bytes).unwrap()
        }
    }
}
