// SPDX-License-Identifier: GPL-3.0-or-later
//! The packets of SFTP version 3 that the store needs (draft-ietf-secsh-filexfer-02 and OpenSSH's
//! extensions). Every length is checked before it is used.

use wyng_wire::BlobName;

/// Maximum length of a packet from the server, bytes; OpenSSH's own limit.
pub(super) const PACKET_MAX: u32 = 256 * 1024;

/// Length of the blocks in which files are read and written, bytes. Every server takes it.
pub(super) const BLOCK_BYTES: u32 = 32 * 1024;

/// Maximum length of a handle, bytes, by the draft.
const HANDLE_MAX: usize = 256;

/// Maximum length of an error message that is kept, bytes.
const MESSAGE_MAX: usize = 200;

/// Bytes of the length before a packet.
pub(super) const LENGTH_BYTES: usize = 4;

pub(super) const INIT: u8 = 1;
pub(super) const VERSION: u8 = 2;
pub(super) const OPEN: u8 = 3;
pub(super) const CLOSE: u8 = 4;
pub(super) const READ: u8 = 5;
pub(super) const WRITE: u8 = 6;
pub(super) const LSTAT: u8 = 7;
pub(super) const OPENDIR: u8 = 11;
pub(super) const READDIR: u8 = 12;
pub(super) const REMOVE: u8 = 13;
pub(super) const MKDIR: u8 = 14;
pub(super) const RMDIR: u8 = 15;
pub(super) const STAT: u8 = 17;
pub(super) const RENAME: u8 = 18;
pub(super) const EXTENDED: u8 = 200;

const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

/// Flags of OPEN.
pub(super) const FOR_READING: u32 = 1;
pub(super) const FOR_WRITING: u32 = 2;
pub(super) const CREATE: u32 = 8;
pub(super) const EXCLUSIVE: u32 = 32;

const WITH_SIZE: u32 = 1;
const WITH_OWNER: u32 = 2;
const WITH_MODE: u32 = 4;
const WITH_TIMES: u32 = 8;
const WITH_MORE: u32 = 0x8000_0000;

/// The bits of a mode that tell the kind of a file, and two of the kinds.
const KIND: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// A request, whose number is filled in when it is sent.
pub(super) struct Request(Vec<u8>);

impl Request {
    /// A request without its fields.
    pub(super) fn new(kind: u8) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&[0; LENGTH_BYTES]);
        bytes.push(kind);
        bytes.extend_from_slice(&[0; 4]);
        Self(bytes)
    }

    pub(super) fn number(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn long_number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn string(self, bytes: &[u8]) -> Self {
        let mut next = self.number(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        next.0.extend_from_slice(bytes);
        next
    }

    /// Attributes that hold a mode only.
    pub(super) fn mode(self, mode: u32) -> Self {
        self.number(WITH_MODE).number(mode)
    }

    /// The whole packet.
    pub(super) fn finish(mut self, id: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len().saturating_sub(LENGTH_BYTES)).unwrap_or(u32::MAX);
        let fields = length.to_be_bytes();
        let places = self.0.iter_mut().take(LENGTH_BYTES);
        places.zip(fields).for_each(|(place, byte)| *place = byte);
        let places = self.0.iter_mut().skip(LENGTH_BYTES.saturating_add(1));
        places
            .zip(id.to_be_bytes())
            .for_each(|(place, byte)| *place = byte);
        self.0
    }
}

/// INIT, the one packet without a number.
pub(super) fn init() -> Vec<u8> {
    vec![0, 0, 0, 5, INIT, 0, 0, 0, 3]
}

/// The code of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Ok,
    EndOfFile,
    NoSuchFile,
    PermissionDenied,
    /// Any error without a code of its own: OpenSSH reports a taken name and a full disk so.
    Failure,
    BadMessage,
    Unsupported,
    /// A code of a later version, which some servers use: the name is taken.
    Exists,
    /// A code of a later version: the disk, or the account's share of it, is full.
    Full,
}

impl Code {
    fn of(number: u32) -> Self {
        match number {
            0 => Self::Ok,
            1 => Self::EndOfFile,
            2 | 10 => Self::NoSuchFile,
            3 | 12 => Self::PermissionDenied,
            5 => Self::BadMessage,
            8 => Self::Unsupported,
            11 => Self::Exists,
            14 | 15 => Self::Full,
            _ => Self::Failure,
        }
    }
}

/// The outcome of a request that answers with nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: Code,
    /// The server's words, escaped.
    pub(super) message: String,
}

/// What the store asks of a file's attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) length_bytes: Option<u64>,
    mode: Option<u32>,
    /// Seconds since 1970, by the server's clock.
    pub(super) changed_secs: Option<u32>,
}

impl Attributes {
    /// Whether it is a folder; `None` if the server does not say what it is.
    pub(super) fn is_folder(&self) -> Option<bool> {
        self.mode.map(|mode| mode & KIND == FOLDER)
    }

    /// Whether it is a regular file; `None` if the server does not say what it is.
    pub(super) fn is_file(&self) -> Option<bool> {
        self.mode.map(|mode| mode & KIND == REGULAR)
    }
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) attributes: Attributes,
}

/// An answer of the server.
#[derive(Debug)]
pub(super) enum Answer {
    Status(Status),
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Names(Vec<Entry>),
    Attributes(Attributes),
    Extended(Vec<u8>),
}

/// An answer that cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecodable;

/// The number of the request that a packet answers, and the answer. `packet` begins with its kind.
pub(super) fn decode(packet: &[u8]) -> Result<(u32, Answer), Undecodable> {
    let mut fields = Fields(packet);
    let (kind, id) = (fields.byte()?, fields.number()?);
    let answer = match kind {
        STATUS => Answer::Status(fields.status()?),
        HANDLE => {
            let handle = fields.string()?;
            if handle.len() > HANDLE_MAX {
                return Err(Undecodable);
            }
            Answer::Handle(handle.to_vec())
        }
        DATA => Answer::Data(fields.string()?.to_vec()),
        NAME => Answer::Names(fields.names()?),
        ATTRS => Answer::Attributes(fields.attributes()?),
        EXTENDED_REPLY => Answer::Extended(fields.0.to_vec()),
        _ => return Err(Undecodable),
    };
    Ok((id, answer))
}

/// The names of the extensions in VERSION. `packet` begins with its kind.
pub(super) fn decode_version(packet: &[u8]) -> Result<Vec<Vec<u8>>, Undecodable> {
    let mut fields = Fields(packet);
    if fields.byte()? != VERSION || fields.number()? < 3 {
        return Err(Undecodable);
    }
    let mut extensions = Vec::new();
    while !fields.0.is_empty() {
        extensions.push(fields.string()?.to_vec());
        fields.string()?;
    }
    Ok(extensions)
}

/// The free space that `statvfs@openssh.com` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) free_bytes: u64,
    /// False: the file system has no blocks and states no limit.
    pub(super) limited: bool,
    pub(super) read_only: bool,
}

/// Decodes the answer to `statvfs@openssh.com`.
pub(super) fn decode_space(reply: &[u8]) -> Result<Space, Undecodable> {
    let mut fields = Fields(reply);
    let mut next = || fields.long_number();
    let (_block, fragment, blocks, _free, available) =
        (next()?, next()?, next()?, next()?, next()?);
    let (_files, _free_files, _available_files, _id, flags) =
        (next()?, next()?, next()?, next()?, next()?);
    Ok(Space {
        free_bytes: available.saturating_mul(fragment),
        limited: blocks > 0,
        read_only: flags & 1 != 0,
    })
}

/// A blob's name as text, if it is one.
pub(super) fn blob_of(name: &[u8], shard: u8) -> Option<BlobName> {
    BlobName::from_hex(name).filter(|name| name.0.first() == Some(&shard))
}

/// What is left to decode.
struct Fields<'p>(&'p [u8]);

impl<'p> Fields<'p> {
    fn take(&mut self, count: usize) -> Result<&'p [u8], Undecodable> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Undecodable)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Undecodable> {
        self.take(N)?.try_into().map_err(|_| Undecodable)
    }

    fn byte(&mut self) -> Result<u8, Undecodable> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u32, Undecodable> {
        self.array().map(u32::from_be_bytes)
    }

    fn long_number(&mut self) -> Result<u64, Undecodable> {
        self.array().map(u64::from_be_bytes)
    }

    fn string(&mut self) -> Result<&'p [u8], Undecodable> {
        let count = self.number()?;
        self.take(usize::try_from(count).map_err(|_| Undecodable)?)
    }

    fn status(&mut self) -> Result<Status, Undecodable> {
        let code = Code::of(self.number()?);
        // Version 3 requires a message; some older servers send none.
        let message = self.string().unwrap_or_default();
        let message = message.get(..MESSAGE_MAX).unwrap_or(message);
        Ok(Status {
            code,
            message: message.escape_ascii().to_string(),
        })
    }

    fn names(&mut self) -> Result<Vec<Entry>, Undecodable> {
        let count = self.number()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            let name = self.string()?.to_vec();
            self.string()?; // a line for people
            entries.push(Entry {
                name,
                attributes: self.attributes()?,
            });
        }
        Ok(entries)
    }

    fn attributes(&mut self) -> Result<Attributes, Undecodable> {
        let flags = self.number()?;
        let mut attributes = Attributes::default();
        if flags & WITH_SIZE != 0 {
            attributes.length_bytes = Some(self.long_number()?);
        }
        if flags & WITH_OWNER != 0 {
            self.long_number()?;
        }
        if flags & WITH_MODE != 0 {
            attributes.mode = Some(self.number()?);
        }
        if flags & WITH_TIMES != 0 {
            self.number()?;
            attributes.changed_secs = Some(self.number()?);
        }
        if flags & WITH_MORE != 0 {
            for _ in 0..self.number()? {
                self.string()?;
                self.string()?;
            }
        }
        Ok(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_length_kind_number_and_fields() {
        let packet = Request::new(OPEN).string(b"/a").number(1).finish(7);
        assert_eq!(
            packet,
            [
                0, 0, 0, 15, 3, 0, 0, 0, 7, 0, 0, 0, 2, b'/', b'a', 0, 0, 0, 1
            ]
        );
    }

    #[test]
    fn a_truncated_answer_is_refused_at_every_length() {
        let answers: [&[u8]; 5] = [
            b"\x65\0\0\0\x01",
            b"\x66\0\0\0\x01\0\0\0\x04abcd",
            b"\x67\0\0\0\x01\0\0\0\x03abc",
            b"\x68\0\0\0\x01\0\0\0\x01\0\0\0\x01a\0\0\0\x01l\0\0\0\x05\0\0\0\0\0\0\0\x09\0\0\x81\xa4",
            b"\x69\0\0\0\x01\x80\0\0\x08\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\x01t\0\0\0\x01v",
        ];
        for answer in &answers[1..] {
            assert!(decode(answer).is_ok(), "{}", answer.escape_ascii());
            for length in 0..answer.len() {
                assert!(
                    decode(&answer[..length]).is_err(),
                    "{}",
                    answer[..length].escape_ascii()
                );
            }
        }
        assert!(decode(answers[0]).is_err(), "a status without a code");
    }

    #[test]
    fn counts_and_lengths_that_the_packet_cannot_hold_are_refused() {
        assert!(decode(b"\x68\0\0\0\x01\xff\xff\xff\xff").is_err());
        assert!(decode(b"\x67\0\0\0\x01\xff\xff\xff\xffabc").is_err());
        assert!(decode(b"\x69\0\0\0\x01\x80\0\0\0\xff\xff\xff\xff").is_err());
        let long_handle = [&b"\x66\0\0\0\x01\0\0\x01\x01"[..], &[0; 257]].concat();
        assert!(decode(&long_handle).is_err());
        assert!(decode(b"\x2a\0\0\0\x01").is_err(), "an unknown kind");
    }

    #[test]
    fn a_message_is_escaped_and_bounded() {
        let message = [b"\x1b[2J\n".as_slice(), &[b'x'; 5000]].concat();
        let length = (message.len() as u32).to_be_bytes();
        let packet = [&b"\x65\0\0\0\x01\0\0\0\x04"[..], &length, &message].concat();
        let Ok((1, Answer::Status(status))) = decode(&packet) else {
            panic!("no status")
        };
        assert_eq!(status.code, Code::Failure);
        assert!(status.message.starts_with("\\x1b[2J\\n") && status.message.len() < 300);
    }

    #[test]
    fn the_kind_of_a_file_is_in_its_mode_and_may_be_missing() {
        let of = |mode| Attributes {
            mode,
            ..Attributes::default()
        };
        assert_eq!(of(Some(0o100_600)).is_file(), Some(true));
        assert_eq!(of(Some(0o120_777)).is_file(), Some(false));
        assert_eq!(of(Some(0o040_700)).is_folder(), Some(true));
        assert_eq!((of(None).is_file(), of(None).is_folder()), (None, None));
    }

    #[test]
    fn a_greeting_of_another_version_or_kind_is_refused() {
        assert_eq!(decode_version(b"\x02\0\0\0\x03"), Ok(vec![]));
        assert_eq!(
            decode_version(b"\x02\0\0\0\x03\0\0\0\x01e\0\0\0\x011"),
            Ok(vec![b"e".to_vec()])
        );
        assert!(decode_version(b"\x02\0\0\0\x02").is_err());
        assert!(decode_version(b"Welc\0\0\0\x03").is_err());
    }
}
