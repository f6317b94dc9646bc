// SPDX-License-Identifier: GPL-3.0-or-later
//! The form of an archive of dom0's files: a pax tar, of which only what Wyng writes is known.
//! Bytes to bytes; no file is opened.

/// Length of a block, bytes.
pub(super) const BLOCK_BYTES: u64 = 512;
/// The same, as the length of a header.
pub(super) const HEADER_BYTES: usize = 512;
/// Maximum of a number that a header holds in seven digits.
const SMALL_MAX: u64 = 0o7_777_777;
/// Maximum of a number that a header holds in eleven digits.
const LARGE_MAX: u64 = 0o77_777_777_777;
/// The places of a header's fields: offset and length, bytes.
const NAME: (usize, usize) = (0, 100);
const MODE: (usize, usize) = (100, 8);
const UID: (usize, usize) = (108, 8);
const GID: (usize, usize) = (116, 8);
const SIZE: (usize, usize) = (124, 12);
const MTIME: (usize, usize) = (136, 12);
const CHECKSUM: (usize, usize) = (148, 8);
const FLAG: usize = 156;
const LINK: (usize, usize) = (157, 100);
const MAGIC: (usize, usize) = (257, 8);
/// Magic and version of a header.
const USTAR: &[u8; 8] = b"ustar\x0000";
/// The name in the header of padding and of long names, which no program shows.
const NAMELESS: &[u8] = b"pax";

/// What a header is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    File,
    Link,
    Folder,
    /// Fields of the next member that its header cannot hold.
    Fields,
    /// A comment, which fills the space up to the next member.
    Padding,
}

const FLAGS: [(Flag, u8); 5] = [
    (Flag::File, b'0'),
    (Flag::Link, b'2'),
    (Flag::Folder, b'5'),
    (Flag::Fields, b'x'),
    (Flag::Padding, b'g'),
];

/// A header's fields, as far as they matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) flag: Flag,
    /// The path, relative; of a folder without a slash at its end.
    pub(super) path: Vec<u8>,
    /// Permissions, as in `st_mode`.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Length of the content that follows, bytes.
    pub(super) size_bytes: u64,
    /// Time of the last change, seconds since 1970 UTC.
    pub(super) mtime_secs: u64,
    /// The target of a link.
    pub(super) target: Vec<u8>,
}

/// The length of content in the archive, with the rest of its last block, bytes.
pub(super) fn in_blocks(size_bytes: u64) -> u64 {
    size_bytes.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES)
}

/// The blocks before a member's content: its header, and before it whatever the header cannot hold.
pub(super) fn encode(header: &Header) -> Vec<u8> {
    let mut path = header.path.clone();
    if header.flag == Flag::Folder {
        path.push(b'/');
    }
    let mut fields = Vec::new();
    if path.len() > NAME.1 {
        record(&mut fields, "path", &path);
    }
    if header.target.len() > LINK.1 {
        record(&mut fields, "linkpath", &header.target);
    }
    for (key, id) in [("uid", header.uid), ("gid", header.gid)] {
        if u64::from(id) > SMALL_MAX {
            record(&mut fields, key, id.to_string().as_bytes());
        }
    }
    let mut blocks = Vec::new();
    if !fields.is_empty() {
        let size_bytes = u64::try_from(fields.len()).unwrap_or(u64::MAX);
        blocks.extend(block(NAMELESS, &Header::bare(Flag::Fields, size_bytes)));
        blocks.append(&mut fields);
        blocks.resize(blocks.len().next_multiple_of(HEADER_BYTES), 0);
    }
    blocks.extend(block(&path, header));
    blocks
}

/// The beginning and the last byte of padding of `length` bytes, which is a multiple of
/// [`BLOCK_BYTES`] and not zero. All bytes between are zeros.
pub(super) fn padding(length: u64) -> (Vec<u8>, Option<u8>) {
    let body_bytes = length.saturating_sub(BLOCK_BYTES);
    let mut start = block(NAMELESS, &Header::bare(Flag::Padding, body_bytes)).to_vec();
    if body_bytes == 0 {
        return (start, None);
    }
    start.extend(format!("{body_bytes} comment=").into_bytes());
    (start, Some(b'\n'))
}

impl Header {
    fn bare(flag: Flag, size_bytes: u64) -> Self {
        Self {
            flag,
            path: Vec::new(),
            mode: 0o600,
            uid: 0,
            gid: 0,
            size_bytes,
            mtime_secs: 0,
            target: Vec::new(),
        }
    }
}

fn block(path: &[u8], header: &Header) -> [u8; HEADER_BYTES] {
    let mut block = [0; HEADER_BYTES];
    let id = |id: u32| {
        Some(u64::from(id))
            .filter(|id| *id <= SMALL_MAX)
            .unwrap_or(0)
    };
    put(&mut block, NAME, path);
    number(&mut block, MODE, u64::from(header.mode & 0o7777));
    number(&mut block, UID, id(header.uid));
    number(&mut block, GID, id(header.gid));
    number(&mut block, SIZE, header.size_bytes.min(LARGE_MAX));
    number(&mut block, MTIME, header.mtime_secs.min(LARGE_MAX));
    put(&mut block, LINK, &header.target);
    put(&mut block, MAGIC, USTAR);
    let flag = FLAGS.iter().find(|(flag, _)| *flag == header.flag);
    put(
        &mut block,
        (FLAG, 1),
        &[flag.map_or(b'0', |(_, letter)| *letter)],
    );
    let sum = checksum(&block);
    put(&mut block, CHECKSUM, format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Writes what fits of a value into a field.
fn put(block: &mut [u8; HEADER_BYTES], (offset, length): (usize, usize), value: &[u8]) {
    let field = block.iter_mut().skip(offset).take(length);
    field.zip(value).for_each(|(to, from)| *to = *from);
}

fn number(block: &mut [u8; HEADER_BYTES], field: (usize, usize), value: u64) {
    let digits = field.1.saturating_sub(1);
    put(block, field, format!("{value:0digits$o}").as_bytes());
}

/// The sum of a header's bytes, with blanks in the place of the sum.
fn checksum(block: &[u8; HEADER_BYTES]) -> u32 {
    let (offset, length) = CHECKSUM;
    block
        .iter()
        .enumerate()
        .map(|(place, byte)| {
            let is_sum = place >= offset && place < offset.saturating_add(length);
            u32::from(if is_sum { b' ' } else { *byte })
        })
        .fold(0, u32::saturating_add)
}

/// Appends `LENGTH KEY=VALUE`, whose length counts its own digits.
fn record(fields: &mut Vec<u8>, key: &str, value: &[u8]) {
    let bare = key.len().saturating_add(value.len()).saturating_add(3);
    let mut length = bare;
    while length != bare.saturating_add(length.to_string().len()) {
        length = bare.saturating_add(length.to_string().len());
    }
    fields.extend(format!("{length} {key}=").into_bytes());
    fields.extend(value);
    fields.push(b'\n');
}

/// Why the archive is not one that Wyng wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// A header's sum is wrong.
    Checksum,
    /// A header is of another form.
    Form,
    /// A member is neither a file, nor a folder, nor a link.
    Kind,
    /// A field that Wyng does not write.
    Field,
    /// A path that leads out of the archive, or nowhere.
    Path,
    /// Two members have one path, or a file is used as a folder.
    Twice,
    /// A member is longer than the archive.
    Length,
    /// Something follows the end.
    End,
    /// There are more members than Wyng writes.
    Count,
}

impl Bad {
    /// What is wrong: the end of a sentence about the archive.
    pub(super) fn phrase(self) -> &'static str {
        match self {
            Self::Checksum => "the sum of a header is wrong",
            Self::Form => "a header has another form than Wyng's",
            Self::Kind => "a member is neither a file, nor a folder, nor a link",
            Self::Field => "a header has a field that Wyng does not write",
            Self::Path => "a path leads out of it, or nowhere",
            Self::Twice => "a path is there twice, or a file is used as a folder",
            Self::Length => "a member is longer than the rest of it",
            Self::End => "something follows its end",
            Self::Count => "it has more members than Wyng writes",
        }
    }
}

/// Decodes a header; `None` is the end of the archive. Its path and target are at most 100 bytes
/// long, and not checked further.
pub(super) fn decode(block: &[u8; HEADER_BYTES]) -> Result<Option<Header>, Bad> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    if octal(block, CHECKSUM)? != u64::from(checksum(block)) {
        return Err(Bad::Checksum);
    }
    if field(block, MAGIC) != USTAR.as_slice() {
        return Err(Bad::Form);
    }
    let letter = block.get(FLAG).copied();
    let flag = FLAGS.iter().find(|(_, known)| Some(*known) == letter);
    let (flag, _) = flag.ok_or(Bad::Kind)?;
    // Wyng writes no prefix, device number or name of an owner.
    let (after_magic, _) = (MAGIC.0.saturating_add(MAGIC.1), ());
    if block.iter().skip(after_magic).any(|byte| *byte != 0) {
        return Err(Bad::Form);
    }
    let id = |place| octal(block, place).map(|id| u32::try_from(id).unwrap_or(u32::MAX));
    Ok(Some(Header {
        flag: *flag,
        path: text(block, NAME),
        mode: id(MODE)?,
        uid: id(UID)?,
        gid: id(GID)?,
        size_bytes: octal(block, SIZE)?,
        mtime_secs: octal(block, MTIME)?,
        target: text(block, LINK),
    }))
}

/// Puts the fields of a [`Flag::Fields`] member into the header after it.
pub(super) fn apply(fields: &[u8], header: &mut Header) -> Result<(), Bad> {
    let mut rest = fields;
    while !rest.is_empty() {
        let blank = rest.iter().position(|byte| *byte == b' ');
        let (digits, _) = rest
            .split_at_checked(blank.ok_or(Bad::Field)?)
            .ok_or(Bad::Field)?;
        let digits_text = std::str::from_utf8(digits).map_err(|_| Bad::Field)?;
        let length: usize = digits_text.parse().map_err(|_| Bad::Field)?;
        let (record, after) = rest.split_at_checked(length).ok_or(Bad::Field)?;
        let record = record
            .get(digits.len().saturating_add(1)..)
            .ok_or(Bad::Field)?;
        let record = record.strip_suffix(b"\n").ok_or(Bad::Field)?;
        let equals = record.iter().position(|byte| *byte == b'=');
        let (key, value) = record
            .split_at_checked(equals.ok_or(Bad::Field)?)
            .ok_or(Bad::Field)?;
        let value = value.get(1..).unwrap_or_default();
        let id = || {
            std::str::from_utf8(value)
                .ok()
                .and_then(|id| id.parse().ok())
        };
        match key {
            b"path" => header.path = value.to_vec(),
            b"linkpath" => header.target = value.to_vec(),
            b"uid" => header.uid = id().ok_or(Bad::Field)?,
            b"gid" => header.gid = id().ok_or(Bad::Field)?,
            _ => return Err(Bad::Field),
        }
        rest = after;
    }
    Ok(())
}

fn field(block: &[u8; HEADER_BYTES], (offset, length): (usize, usize)) -> &[u8] {
    block
        .get(offset..offset.saturating_add(length))
        .unwrap_or_default()
}

/// The bytes of a field before its first zero.
fn text(block: &[u8; HEADER_BYTES], place: (usize, usize)) -> Vec<u8> {
    let bytes = field(block, place).iter().take_while(|byte| **byte != 0);
    bytes.copied().collect()
}

/// A number in octal digits. The other form, for larger ones, is not Wyng's.
fn octal(block: &[u8; HEADER_BYTES], place: (usize, usize)) -> Result<u64, Bad> {
    let digits = text(block, place);
    let digits = std::str::from_utf8(&digits).map_err(|_| Bad::Form)?;
    let digits = digits.trim_end_matches(' ');
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Bad::Form);
    }
    u64::from_str_radix(digits, 8).map_err(|_| Bad::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &[u8]) -> Header {
        Header {
            path: path.to_vec(),
            mtime_secs: 7,
            ..Header::bare(Flag::File, 9)
        }
    }

    fn last_block(blocks: &[u8]) -> [u8; HEADER_BYTES] {
        blocks[blocks.len() - HEADER_BYTES..].try_into().unwrap()
    }

    #[test]
    fn a_header_comes_back_as_it_was() {
        let header = file(b"etc/qubes/policy.d/30-user.policy");
        assert_eq!(decode(&last_block(&encode(&header))), Ok(Some(header)));
        assert_eq!(decode(&[0; HEADER_BYTES]), Ok(None));
    }

    #[test]
    fn what_a_header_cannot_hold_stands_before_it() {
        let mut header = file(&[b'a'; 300]);
        (header.uid, header.target) = (u32::MAX, vec![b'b'; 101]);
        let blocks = encode(&header);
        let fields = decode(&blocks[..HEADER_BYTES].try_into().unwrap());
        let length = usize::try_from(fields.unwrap().unwrap().size_bytes).unwrap();
        let mut found = decode(&last_block(&blocks)).unwrap().unwrap();
        apply(&blocks[HEADER_BYTES..HEADER_BYTES + length], &mut found).unwrap();
        assert_eq!(found, header);
    }

    #[test]
    fn other_headers_and_fields_are_refused() {
        let good = last_block(&encode(&file(b"a")));
        let with = |place: usize, value: &[u8]| {
            let mut bad = good;
            bad[place..place + value.len()].copy_from_slice(value);
            let sum = format!("{:06o}\0 ", checksum(&bad));
            put(&mut bad, CHECKSUM, sum.as_bytes());
            decode(&bad)
        };
        for letter in [b'1', b'3', b'4', b'6', b'7', b'S', b'L', b'K', 0, b'D'] {
            assert_eq!(with(FLAG, &[letter]), Err(Bad::Kind), "{letter}");
        }
        assert_eq!(with(MAGIC.0, b"ustar  \0"), Err(Bad::Form));
        assert_eq!(with(345, b"prefix"), Err(Bad::Form));
        assert_eq!(with(SIZE.0, &[0x80]), Err(Bad::Form));
        assert_eq!(with(SIZE.0, b"-1"), Err(Bad::Form));
        let mut bad = good;
        bad[0] = b'b';
        assert_eq!(decode(&bad), Err(Bad::Checksum));
        for fields in [
            &b"20 GNU.sparse.size=9\n"[..],
            b"9 size=9\n",
            b"99 path=a\n",
            b"9 path=a",
            b"x path=a\n",
            b"99999999999999999999 path=a\n",
            b"9 patha\n",
            b"8",
        ] {
            assert_eq!(
                apply(fields, &mut file(b"a")),
                Err(Bad::Field),
                "{fields:?}"
            );
        }
    }
}
