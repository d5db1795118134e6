//! The container of a video: an MP4 file with one H.264 track.

use bytes::Bytes;

/// Constrained baseline profile, level 3.0: `profile_idc`, flags of constraints, `level_idc`.
pub(super) const PROFILE: [u8; 3] = [66, 0xc0, 30];

/// A video track. Only its first frame can be shown without the others.
pub(super) struct Track {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) frames_per_second: u32,
    /// The sequence and the picture parameter set.
    pub(super) sequence: Vec<u8>,
    pub(super) picture: Vec<u8>,
    pub(super) frames: Vec<Vec<u8>>,
}

const VERSION: [u8; 4] = [0; 4];
const ONE: u32 = 0x0001_0000;

/// No rotation, no scaling.
const MATRIX: [u32; 9] = [ONE, 0, 0, 0, ONE, 0, 0, 0, 0x4000_0000];

/// The file. What a player needs first comes first, so that it can begin before all is there.
pub(super) fn file(track: &Track) -> Bytes {
    let kind = boxed(b"ftyp", &[b"isom", &512_u32.to_be_bytes(), b"isomiso2avc1mp41"]);
    let frames: Vec<u8> =
        track.frames.iter().flat_map(|it| [&length(it).to_be_bytes(), it.as_slice()].concat()).collect();
    // The place of the frames depends on the length of the description, not on the number in it.
    let description = movie(track, 0);
    let offset = length(&kind) + length(&description) + 8;
    [kind, movie(track, offset), boxed(b"mdat", &[&frames])].concat().into()
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    [&(length(&content) + 8).to_be_bytes(), kind.as_slice(), &content].concat()
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|it| it.to_be_bytes()).collect()
}

fn shorts(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|it| it.to_be_bytes().into_iter().skip(2)).collect()
}

fn movie(track: &Track, offset: u32) -> Vec<u8> {
    let (rate, count) = (track.frames_per_second, u32::try_from(track.frames.len()).unwrap_or(u32::MAX));
    let times = numbers(&[0, 0, rate, count]);
    let volume = numbers(&[ONE, 0x0100_0000, 0, 0]);
    let next_track = numbers(&[0, 0, 0, 0, 0, 0, 2]);
    let header = boxed(b"mvhd", &[&VERSION, &times, &volume, &numbers(&MATRIX), &next_track]);

    let flags = numbers(&[3, 0, 0, 1, 0, count, 0, 0, 0, 0]);
    let size = numbers(&[track.width << 16, track.height << 16]);
    let track_header = boxed(b"tkhd", &[&flags, &numbers(&MATRIX), &size]);
    // The language is "und".
    let media_header = boxed(b"mdhd", &[&VERSION, &times, &shorts(&[0x55c4, 0])]);
    let handler = boxed(b"hdlr", &[&VERSION, &[0; 4], b"vide", &[0; 12], b"video\0"]);
    let information = boxed(
        b"minf",
        &[
            &boxed(b"vmhd", &[&numbers(&[1, 0, 0])]),
            &boxed(b"dinf", &[&boxed(b"dref", &[&numbers(&[0, 1]), &boxed(b"url ", &[&numbers(&[1])])])]),
            &samples(track, count, offset),
        ],
    );
    let media = boxed(b"mdia", &[&media_header, &handler, &information]);
    boxed(b"moov", &[&header, &boxed(b"trak", &[&track_header, &media])])
}

/// Where each frame is, and how long it is shown.
fn samples(track: &Track, count: u32, offset: u32) -> Vec<u8> {
    let sizes: Vec<_> = track.frames.iter().map(|it| length(it) + 4).collect();
    boxed(
        b"stbl",
        &[
            &boxed(b"stsd", &[&numbers(&[0, 1]), &coding(track)]),
            &boxed(b"stts", &[&numbers(&[0, 1, count, 1])]),
            &boxed(b"stss", &[&numbers(&[0, 1, 1])]),
            &boxed(b"stsc", &[&numbers(&[0, 1, 1, count, 1])]),
            &boxed(b"stsz", &[&numbers(&[0, 0, count]), &numbers(&sizes)]),
            &boxed(b"stco", &[&numbers(&[0, 1, offset])]),
        ],
    )
}

/// What a decoder has to know.
fn coding(track: &Track) -> Vec<u8> {
    let set = |unit: &[u8]| [&shorts(&[length(unit)]), unit].concat();
    let [profile, constraints, level] = PROFILE;
    // Lengths of units have four bytes; one sequence and one picture parameter set.
    let decoder = boxed(
        b"avcC",
        &[&[1, profile, constraints, level, 0xff, 0xe1], &set(&track.sequence), &[1], &set(&track.picture)],
    );
    let size = shorts(&[track.width, track.height]);
    // 72 dots an inch, one frame a sample, no name of the encoder, 24 bits a pixel.
    let rest = [numbers(&[0x0048_0000, 0x0048_0000, 0]), shorts(&[1]), vec![0; 32], shorts(&[24, 0xffff])].concat();
    boxed(b"avc1", &[&[0; 6], &shorts(&[1]), &[0; 16], &size, &rest, &decoder])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The boxes in these bytes, which they fill.
    fn boxes(mut bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let length = u32::from_be_bytes(bytes[..4].try_into().expect("four bytes")) as usize;
            found.push((&bytes[4..8], &bytes[8..length]));
            bytes = &bytes[length..];
        }
        found
    }

    fn inside<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> &'a [u8] {
        path.iter().fold(bytes, |bytes, kind| {
            boxes(bytes).into_iter().find(|(it, _)| it == kind).unwrap_or_else(|| panic!("{kind:?}")).1
        })
    }

    #[test]
    fn the_frames_are_where_the_file_says() {
        let frames = vec![b"first".to_vec(), b"second".to_vec()];
        let (sequence, picture) = (vec![0x67, 1], vec![0x68, 2]);
        let track = Track { width: 32, height: 16, frames_per_second: 24, sequence, picture, frames };
        let file = file(&track);
        assert_eq!(boxes(&file).iter().map(|it| it.0).collect::<Vec<_>>(), [b"ftyp", b"moov", b"mdat"]);
        let samples = inside(&file, &[b"moov", b"trak", b"mdia", b"minf", b"stbl"]);
        let number = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let offset = number(inside(samples, &[b"stco"]), 8) as usize;
        assert_eq!(file[offset..], *b"\0\0\0\x05first\0\0\0\x06second");
        let sizes = inside(samples, &[b"stsz"]);
        assert_eq!((number(sizes, 8), number(sizes, 12), number(sizes, 16)), (2, 9, 10));
        let coding = inside(samples, &[b"stsd"]);
        assert!(coding.ends_with(&[0xe1, 0, 2, 0x67, 1, 1, 0, 2, 0x68, 2]));
    }
}
