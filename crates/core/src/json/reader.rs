// SPDX-License-Identifier: MIT OR Apache-2.0
//! The walk over `jiter`: it knows the grammar, the limits and the refusals are ours.

use std::borrow::Cow;

use jiter::{Jiter, Peek};

use super::value::{Member, Object, Value};
use super::{Limits, Number, ReadError, ReadErrorKind};

/// Reads one whole document strictly. The tree borrows from `bytes` whatever has no escape in it.
///
/// # Errors
/// [`ReadError`] says where and why; nothing of a refused document is given back.
pub fn read<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Value<'b>, ReadError> {
    if bytes.len() > limits.bytes_max {
        return Err(ReadError { at: limits.bytes_max, kind: ReadErrorKind::Bytes });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| ReadError { at: error.valid_up_to(), kind: ReadErrorKind::Utf8 })?;
    let mut reader = Reader {
        text,
        jiter: Jiter::new(bytes),
        depth_left: limits.depth_max.min(Limits::DEPTH_CEILING),
        tokens_left: limits.tokens_max,
    };
    let peek = reader.jiter.peek()?;
    let value = reader.value(peek)?;
    reader.jiter.finish()?;
    Ok(value)
}

struct Reader<'b> {
    text: &'b str,
    jiter: Jiter<'b>,
    depth_left: usize,
    tokens_left: usize,
}

impl<'b> Reader<'b> {
    fn value(&mut self, peek: Peek) -> Result<Value<'b>, ReadError> {
        self.token()?;
        match peek {
            Peek::String => {
                let decoded = self.jiter.known_str()?;
                Ok(Value::String(borrowed(self.text, decoded)))
            }
            Peek::Object => self.nested(Self::object),
            Peek::Array => self.nested(Self::array),
            Peek::True | Peek::False => Ok(Value::Bool(self.jiter.known_bool(peek)?)),
            Peek::Null => {
                self.jiter.known_null()?;
                Ok(Value::Null)
            }
            _ => self.number(peek),
        }
    }

    fn nested(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<Value<'b>, ReadError>,
    ) -> Result<Value<'b>, ReadError> {
        self.depth_left =
            self.depth_left.checked_sub(1).ok_or_else(|| self.refuse(ReadErrorKind::Depth))?;
        let value = inner(self)?;
        self.depth_left += 1;
        Ok(value)
    }

    fn array(&mut self) -> Result<Value<'b>, ReadError> {
        let mut elements = Vec::new();
        let mut next = self.jiter.known_array()?;
        while let Some(peek) = next {
            elements.push(self.value(peek)?);
            next = self.jiter.array_step()?;
        }
        Ok(Value::Array(elements))
    }

    fn object(&mut self) -> Result<Value<'b>, ReadError> {
        let mut members = Vec::new();
        let text = self.text;
        let mut next = self.jiter.known_object()?.map(|name| borrowed(text, name));
        while let Some(name) = next {
            self.token()?;
            let peek = self.jiter.peek()?;
            let start = self.jiter.current_index();
            let value = self.value(peek)?;
            members.push(Member { name, value, span: start..self.jiter.current_index() });
            next = self.jiter.next_key()?.map(|name| borrowed(text, name));
        }
        Object::new(members)
            .map(Value::Object)
            .map_err(|at| ReadError { at, kind: ReadErrorKind::DuplicateName })
    }

    fn number(&mut self, peek: Peek) -> Result<Value<'b>, ReadError> {
        let start = self.jiter.current_index();
        self.jiter.known_number_bytes(peek)?;
        self.text
            .get(start..self.jiter.current_index())
            .and_then(Number::finite)
            .map(Value::Number)
            .ok_or(ReadError { at: start, kind: ReadErrorKind::NumberRange })
    }

    /// Counts one value or name, before anything is allocated for it.
    fn token(&mut self) -> Result<(), ReadError> {
        self.tokens_left =
            self.tokens_left.checked_sub(1).ok_or_else(|| self.refuse(ReadErrorKind::Tokens))?;
        Ok(())
    }

    fn refuse(&self, kind: ReadErrorKind) -> ReadError {
        ReadError { at: self.jiter.current_index(), kind }
    }
}

/// `jiter` hands out a string with the shorter lifetime of its own buffer even where it is a part
/// of the document: where it is, this is that part, and the copy is saved.
fn borrowed<'b>(text: &'b str, decoded: &str) -> Cow<'b, str> {
    let start = decoded.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
    match start.checked_add(decoded.len()).and_then(|end| text.get(start..end)) {
        Some(part) => Cow::Borrowed(part),
        None => Cow::Owned(decoded.to_owned()),
    }
}
