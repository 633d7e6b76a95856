//! Header blocks: names and values, packed by zlib with a dictionary that both ends know.

use super::Error;
use bytes::Buf;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::sync::LazyLock;

/// Most bytes of one header block when unpacked.
pub const UNPACKED_BYTES_MAX: usize = 64 * 1024;
/// Most names in one block.
const NAMES_MAX: usize = 1024;
/// Bytes unpacked at once.
const STEP_BYTES: usize = 4096;

/// Names in lower case and their values, in order. Several values of one name are one text with zero bytes between.
pub type Headers = Vec<(String, String)>;

/// Words that stand in SPDY/3's dictionary with their lengths before them.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
    accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
    content-length content-location content-md5 content-range content-type date etag expect expires from host \
    if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status";
/// The same, one of them with a space in it.
const MORE_WORDS: &[&str] =
    &["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"];
/// The dictionary's end, as it is.
const END: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritat\
    ive Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found5\
    00 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct N\
    ov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,applic\
    ation/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf\
    -8charset=iso-8859-1,utf-,*,enq=0.";

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut all = Vec::with_capacity(1423);
    for word in WORDS.split_ascii_whitespace().chain(MORE_WORDS.iter().copied()) {
        all.extend_from_slice(&u32::try_from(word.len()).unwrap_or_default().to_be_bytes());
        all.extend_from_slice(word.as_bytes());
    }
    all.extend_from_slice(END.as_bytes());
    all
});

/// Packs the blocks that one end sends.
#[derive(Debug)]
pub(super) struct Packer {
    zlib: Compress,
    is_ready: bool,
}

impl Packer {
    pub(super) fn new() -> Self {
        let mut zlib = Compress::new(Compression::best(), true);
        let is_ready = zlib.set_dictionary(&DICTIONARY).is_ok();
        Self { zlib, is_ready }
    }

    pub(super) fn pack(&mut self, headers: &Headers) -> Result<Vec<u8>, Error> {
        let mut plain = Vec::new();
        let mut put = |length: usize, bytes: &[u8]| {
            plain.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
            plain.extend_from_slice(bytes);
        };
        put(headers.len(), b"");
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            put(text.len(), text.as_bytes());
        }
        if plain.len() > UNPACKED_BYTES_MAX || !self.is_ready {
            return Err(Error::Headers("too large to be sent"));
        }
        // what does not shrink grows by less than a thousandth and some bytes of framing
        let mut out = Vec::with_capacity(plain.len() + plain.len() / 500 + 128);
        let packed = self.zlib.compress_vec(&plain, &mut out, FlushCompress::Sync);
        match packed {
            Ok(Status::Ok) if out.len() < out.capacity() => Ok(out),
            _ => Err(Error::Headers("cannot be packed")),
        }
    }
}

/// Unpacks the blocks that the other end sends.
#[derive(Debug)]
pub(super) struct Unpacker {
    zlib: Decompress,
}

impl Unpacker {
    pub(super) fn new() -> Self {
        Self { zlib: Decompress::new(true) }
    }

    pub(super) fn unpack(&mut self, packed: &[u8]) -> Result<Headers, Error> {
        let mut plain = Vec::new();
        let mut input = packed;
        let mut step = vec![0; STEP_BYTES];
        loop {
            let (read, written) = (self.zlib.total_in(), self.zlib.total_out());
            let outcome = self.zlib.decompress(input, &mut step, FlushDecompress::Sync);
            let used = usize::try_from(self.zlib.total_in() - read).unwrap_or(usize::MAX);
            let given = usize::try_from(self.zlib.total_out() - written).unwrap_or(usize::MAX);
            input = input.get(used..).unwrap_or_default();
            plain.extend_from_slice(step.get(..given).unwrap_or_default());
            if plain.len() > UNPACKED_BYTES_MAX {
                return Err(Error::Headers("too large"));
            }
            match outcome {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.zlib
                        .set_dictionary(&DICTIONARY)
                        .map_err(|_| Error::Headers("packed with another dictionary"))?;
                }
                Err(_) => return Err(Error::Headers("not zlib's")),
                Ok(_) if used == 0 && given == 0 => break,
                Ok(_) if input.is_empty() && given < STEP_BYTES => break,
                Ok(_) => {}
            }
        }
        parse(&plain)
    }
}

fn parse(mut plain: &[u8]) -> Result<Headers, Error> {
    let short = Error::Headers("ends early");
    let count = plain.try_get_u32().map_err(|_| short.clone())? as usize;
    if count > NAMES_MAX {
        return Err(Error::Headers("too many names"));
    }
    let mut text = || {
        let length = plain.try_get_u32().map_err(|_| short.clone())? as usize;
        let bytes = plain.get(..length).ok_or_else(|| short.clone())?;
        plain.advance(length);
        String::from_utf8(bytes.to_vec()).map_err(|_| Error::Headers("not text"))
    };
    (0..count).map(|_| Ok((text()?, text()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_one_of_the_protocol() {
        assert_eq!(DICTIONARY.len(), 1423);
        let (a, b) = DICTIONARY.iter().fold((1_u32, 0_u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65521;
            (a, (b + a) % 65521)
        });
        // the checksum that every SPDY/3 connection begins with
        assert_eq!(b << 16 | a, 0xe3c6_a7c2);
        let packed = Packer::new().pack(&vec![("a".to_owned(), "b".to_owned())]).unwrap();
        assert_eq!(packed.get(2..6), Some(&[0xe3, 0xc6, 0xa7, 0xc2][..]));
    }
}
