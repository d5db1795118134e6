//! A short video by rule: H.264 that any player shows. Its first frame is a picture without compression,
//! every other one repeats it, and a bar at the bottom grows with the time.

use bytes::Bytes;

use super::{
    mp4::{self, Track},
    picture::{self, Caption, Rgb},
};

const FRAMES_PER_SECOND: u32 = 24;

/// Pixels of the side of a macroblock, the unit of which H.264 makes frames.
const BLOCK: u32 = 16;

/// Height of the bar, in pixels.
const BAR: u32 = 4;

/// The types of a macroblock that is not compressed (`I_PCM`), in a key frame and in another one.
const PCM: u32 = 25;
const PCM_BETWEEN: u32 = 5 + PCM;

/// A video that shows the caption for so many seconds.
pub(super) fn mp4(caption: &Caption, seconds: u32) -> Bytes {
    let (width, height) = picture::size(Some(caption.ratio.as_deref().unwrap_or("16:9")));
    let (columns, rows) = (width.div_ceil(BLOCK), height.div_ceil(BLOCK));
    let frame = Frame { columns, rows, pixels: picture::pixels(caption, columns * BLOCK, rows * BLOCK) };
    let count = seconds * FRAMES_PER_SECOND;
    // The bar reaches one more column in each of these equal parts of the time.
    let reached = |at: u32| at * (columns + 1) / count;
    let frames = (0..count).map(|at| match (at, at.checked_sub(1).map_or(0, reached)) {
        (0, _) => frame.key(),
        (at, before) if reached(at) > before => frame.between(at, Some(before)),
        (at, _) => frame.between(at, None),
    });
    mp4::file(&Track {
        width: columns * BLOCK,
        height: rows * BLOCK,
        frames_per_second: FRAMES_PER_SECOND,
        sequence: sequence(columns, rows),
        picture: parameters(),
        frames: frames.collect(),
    })
}

struct Frame {
    /// In macroblocks.
    columns: u32,
    rows: u32,
    pixels: Vec<Rgb>,
}

impl Frame {
    /// The first frame.
    fn key(&self) -> Vec<u8> {
        let mut bits = slice(7, 0);
        bits.unsigned(0); // idr_pic_id
        bits.put(0, 2); // no_output_of_prior_pics_flag, long_term_reference_flag
        end_of_header(&mut bits);
        for row in 0..self.rows {
            for column in 0..self.columns {
                bits.unsigned(PCM);
                self.block(&mut bits, column, row, false);
            }
        }
        bits.into_unit(0x65)
    }

    /// A frame that repeats the one before, but for the bar in this column.
    fn between(&self, number: u32, column: Option<u32>) -> Vec<u8> {
        let mut bits = slice(5, number);
        bits.put(0, 3); // num_ref_idx_active_override, ref_pic_list_modification, adaptive_ref_pic_marking
        end_of_header(&mut bits);
        let before = (self.rows - 1) * self.columns;
        match column {
            None => bits.unsigned(self.rows * self.columns),
            Some(column) => {
                bits.unsigned(before + column);
                bits.unsigned(PCM_BETWEEN);
                self.block(&mut bits, column, self.rows - 1, true);
                if column + 1 < self.columns {
                    bits.unsigned(self.columns - column - 1);
                }
            }
        }
        bits.into_unit(0x41)
    }

    /// The samples of a macroblock: brightness of each pixel, then two colours of each four pixels.
    fn block(&self, bits: &mut Bits, column: u32, row: u32, bar: bool) {
        bits.align();
        let square =
            |step: usize| (0..BLOCK).step_by(step).flat_map(move |y| (0..BLOCK).step_by(step).map(move |x| (x, y)));
        let pixel = |(x, y): (u32, u32)| {
            let at = (row * BLOCK + y) * self.columns * BLOCK + column * BLOCK + x;
            let is_bar = bar && y >= BLOCK - BAR;
            if is_bar { [u8::MAX; 3] } else { self.pixels.get(at as usize).copied().unwrap_or_default() }
        };
        bits.bytes.extend(square(1).map(pixel).map(|it| sample(it, 16, [66, 129, 25])));
        bits.bytes.extend(square(2).map(pixel).map(|it| sample(it, 128, [-38, -74, 112])));
        bits.bytes.extend(square(2).map(pixel).map(|it| sample(it, 128, [112, -94, -18])));
    }
}

/// Brightness or colour, in the limited range of BT.601.
fn sample(pixel: Rgb, zero: i32, weights: [i32; 3]) -> u8 {
    let sum: i32 = pixel.into_iter().zip(weights).map(|(channel, weight)| i32::from(channel) * weight).sum();
    ((sum + 128) / 256 + zero).clamp(16, 240).to_le_bytes()[0]
}

/// The sequence parameter set: constrained baseline profile, level 3.0.
fn sequence(columns: u32, rows: u32) -> Vec<u8> {
    let mut bits = Bits::default();
    for byte in mp4::PROFILE {
        bits.put(u32::from(byte), 8);
    }
    bits.unsigned(0); // seq_parameter_set_id
    bits.unsigned(4); // log2_max_frame_num_minus4: eight bits
    bits.unsigned(2); // pic_order_cnt_type: frames are shown in their order
    bits.unsigned(1); // max_num_ref_frames
    bits.put(0, 1); // gaps_in_frame_num_value_allowed_flag
    bits.unsigned(columns - 1);
    bits.unsigned(rows - 1);
    bits.put(0b11, 2); // frame_mbs_only_flag, direct_8x8_inference_flag
    bits.put(0, 2); // frame_cropping_flag, vui_parameters_present_flag
    bits.into_unit(0x67)
}

/// The picture parameter set.
fn parameters() -> Vec<u8> {
    let mut bits = Bits::default();
    bits.unsigned(0); // pic_parameter_set_id
    bits.unsigned(0); // seq_parameter_set_id
    bits.put(0, 2); // entropy_coding_mode_flag, bottom_field_pic_order_in_frame_present_flag
    bits.unsigned(0); // num_slice_groups_minus1
    bits.unsigned(0); // num_ref_idx_l0_default_active_minus1
    bits.unsigned(0); // num_ref_idx_l1_default_active_minus1
    bits.put(0, 3); // weighted_pred_flag, weighted_bipred_idc
    (0..3).for_each(|_| bits.unsigned(0)); // pic_init_qp, pic_init_qs, chroma_qp_index_offset
    bits.put(0b100, 3); // deblocking_filter_control_present, constrained_intra_pred, redundant_pic_cnt_present
    bits.into_unit(0x68)
}

/// The beginning of a slice that is a whole frame.
fn slice(kind: u32, number: u32) -> Bits {
    let mut bits = Bits::default();
    bits.unsigned(0); // first_mb_in_slice
    bits.unsigned(kind);
    bits.unsigned(0); // pic_parameter_set_id
    bits.put(number % 256, 8); // frame_num
    bits
}

fn end_of_header(bits: &mut Bits) {
    bits.unsigned(0); // slice_qp_delta
    bits.unsigned(1); // disable_deblocking_filter_idc
}

/// Bits, written from the highest one of each byte.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// How many bits of the last byte are free.
    free: u32,
}

impl Bits {
    fn put(&mut self, value: u32, width: u32) {
        for at in (0..width).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            if let Some(last) = self.bytes.last_mut()
                && value >> at & 1 == 1
            {
                *last |= 1 << self.free;
            }
        }
    }

    /// A number as an Exp-Golomb code: `ue(v)` in the standard, and `se(v)` for zero.
    fn unsigned(&mut self, value: u32) {
        let width = 32 - (value + 1).leading_zeros();
        self.put(0, width - 1);
        self.put(value + 1, width);
    }

    fn align(&mut self) {
        self.free = 0;
    }

    /// A unit of the network abstraction layer, in which no start code can occur.
    fn into_unit(mut self, header: u8) -> Vec<u8> {
        self.put(1, 1);
        let mut unit = vec![header];
        let mut zeros = 0;
        for byte in self.bytes {
            if zeros == 2 && byte <= 3 {
                unit.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            unit.push(byte);
        }
        unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caption(ratio: Option<&str>) -> Caption {
        Caption { prompt: "a duck".to_owned(), ratio: ratio.map(str::to_owned), line: "ray-3.2 video".to_owned() }
    }

    #[test]
    fn numbers_are_written_as_exp_golomb_codes() {
        for (number, code, width) in [(0, 0b1, 1), (1, 0b010, 3), (2, 0b011, 3), (25, 0b0_0001_1010, 9)] {
            let (mut written, mut expected) = (Bits::default(), Bits::default());
            written.unsigned(number);
            expected.put(code, width);
            assert_eq!((written.bytes, written.free), (expected.bytes, expected.free), "{number}");
        }
    }

    #[test]
    fn a_unit_never_contains_a_start_code() {
        let bits = Bits { bytes: vec![0, 0, 0, 0, 0, 1, 0, 0, 4], free: 0 };
        assert_eq!(bits.into_unit(9), [9, 0, 0, 3, 0, 0, 3, 0, 1, 0, 0, 4, 0x80]);
    }

    #[test]
    fn a_video_is_as_long_as_asked_and_small() {
        for (ratio, seconds) in [(None, 5), (Some("9:16"), 10), (Some("21:9"), 5), (Some("1:1"), 1)] {
            let file = mp4(&caption(ratio), seconds);
            assert!(file.len() < 130_000, "{ratio:?}: {}", file.len());
            let count = file.windows(4).position(|it| it == b"stsz").expect("sizes of frames") + 12;
            assert_eq!(file[count..count + 4], (seconds * 24).to_be_bytes(), "{ratio:?}");
        }
    }

    #[test]
    fn the_bar_reaches_every_column_once() {
        let (columns, count) = (16, 120);
        let reached = |at: u32| at * (columns + 1) / count;
        let steps: Vec<_> = (1..count).filter(|at| reached(*at) > reached(at - 1)).map(|at| reached(at - 1)).collect();
        assert_eq!(steps, (0..columns).collect::<Vec<_>>());
    }
}
