//! Binary `COPY ... FROM STDIN`. Postgres takes many rows faster so than as arrays: it fills a page of
//! the table, and tells its log of it, once for all rows that go there. But it knows no conflict: a
//! row whose key exists fails it.

use std::pin::pin;

use bytes::{BufMut as _, Bytes, BytesMut};
use deadpool_postgres::Transaction;
use futures_util::SinkExt as _;

use crate::StoreError;

/// What is sent at once: few messages, and little memory for rows that are encoded.
const PIECE_BYTES: usize = 256 * 1024;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: i16 = -1;
/// Of the binary form of `jsonb`.
const JSONB_VERSION: u8 = 1;

/// A field as the type of its column has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field<'a> {
    Text(&'a str),
    Int4(i32),
    Int8(i64),
    /// The text of a `jsonb`.
    Jsonb(&'a str),
}

impl Field<'_> {
    fn put(self, out: &mut BytesMut) {
        match self {
            Field::Text(text) => {
                out.put_i32(text.len() as i32); // of a message, whose length is one as well
                out.put_slice(text.as_bytes());
            }
            Field::Int4(number) => {
                out.put_i32(4);
                out.put_i32(number);
            }
            Field::Int8(number) => {
                out.put_i32(8);
                out.put_i64(number);
            }
            Field::Jsonb(text) => {
                out.put_i32(text.len() as i32 + 1);
                out.put_u8(JSONB_VERSION);
                out.put_slice(text.as_bytes());
            }
        }
    }
}

/// Runs a `COPY` of these rows.
///
/// # Errors
/// When the database refuses a row.
pub(crate) async fn copy<'a, const N: usize>(
    transaction: &Transaction<'_>,
    sql: &str,
    rows: impl Iterator<Item = [Field<'a>; N]>,
) -> Result<(), StoreError> {
    let statement = transaction.prepare_cached(sql).await?;
    let mut sink = pin!(transaction.copy_in::<_, Bytes>(&statement).await?);
    let mut piece = BytesMut::with_capacity(PIECE_BYTES);
    piece.put_slice(HEADER);
    for fields in rows {
        piece.put_i16(N as i16);
        fields.into_iter().for_each(|field| field.put(&mut piece));
        if piece.len() >= PIECE_BYTES {
            sink.feed(piece.split().freeze()).await?;
        }
    }
    piece.put_i16(TRAILER);
    sink.feed(piece.freeze()).await?;
    sink.finish().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_the_protocol_says() {
        for (field, expected) in [
            (Field::Text("né"), &b"\0\0\0\x03n\xc3\xa9"[..]),
            (Field::Text(""), b"\0\0\0\0"),
            (Field::Int4(-2), b"\0\0\0\x04\xff\xff\xff\xfe"),
            (Field::Int8(258), b"\0\0\0\x08\0\0\0\0\0\0\x01\x02"),
            (Field::Jsonb("{}"), b"\0\0\0\x03\x01{}"),
        ] {
            let mut out = BytesMut::new();
            field.put(&mut out);
            assert_eq!(&out[..], expected, "{field:?}");
        }
        assert_eq!(HEADER.len(), 19);
    }
}
