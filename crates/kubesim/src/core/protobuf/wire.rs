//! The wire format (protobuf.dev/programming-guides/encoding): numbered fields, each a number, 64
//! or 32 bits, or bytes.

use super::Malformed;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Content<'a> {
    /// A number of variable length.
    Number(u64),
    /// Fixed bits.
    Fixed(u64),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
}

/// Reads the fields of a message.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// The next field, if there is one.
    pub fn next(&mut self) -> Result<Option<(u64, Content<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.number()?;
        let number = tag >> 3;
        let content = match tag & 7 {
            0 => Content::Number(self.number()?),
            1 => Content::Fixed(self.fixed(8)?),
            2 => {
                let length = usize::try_from(self.number()?).map_err(|_| Malformed::Short)?;
                Content::Bytes(self.take(length)?)
            }
            5 => Content::Fixed(self.fixed(4)?),
            _ => return Err(Malformed::WireType(number)),
        };
        Ok(Some((number, content)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn fixed(&mut self, length: usize) -> Result<u64, Malformed> {
        let bytes = self.take(length)?;
        Ok(bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte)))
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Short)
    }
}

/// Writes the fields of a message.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Text, bytes or a message.
    pub fn bytes(&mut self, field: u64, content: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(content.len() as u64);
        self.bytes.extend_from_slice(content);
    }

    /// A number of variable length.
    pub fn number(&mut self, field: u64, content: u64) {
        self.varint(field << 3);
        self.varint(content);
    }

    /// 64 bits.
    pub fn fixed(&mut self, field: u64, content: u64) {
        self.varint(field << 3 | 1);
        self.bytes.extend_from_slice(&content.to_le_bytes());
    }

    /// The message.
    pub fn done(self) -> Vec<u8> {
        self.bytes
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 & 0x7f | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}
