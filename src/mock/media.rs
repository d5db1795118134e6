//! What is in storage: how the bytes of an output are made, on request and outside of any lock.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::{
    picture::{self, Caption, Layer},
    video,
};

/// How many outputs are kept once they are made.
const KEPT: usize = 64;

/// What an output consists of.
#[derive(Clone)]
pub(super) enum Media {
    /// Scripted.
    Bytes(Bytes),
    Picture(Caption),
    Layer(&'static Layer, Caption),
    /// With its length in seconds.
    Video(Caption, u32),
    Exr(Caption),
}

impl Media {
    fn render(&self) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Picture(caption) => picture::png(caption),
            Self::Layer(layer, caption) => layer.png(caption),
            Self::Video(caption, seconds) => video::mp4(caption, *seconds),
            Self::Exr(caption) => picture::exr(caption),
        }
    }
}

/// The outputs that were made last.
#[derive(Clone, Default)]
pub(super) struct Rendered(Arc<Mutex<VecDeque<(String, Bytes)>>>);

impl Rendered {
    /// The bytes of the object with this key, made on a thread for work that takes long.
    pub(super) async fn get(&self, key: &str, media: Media) -> Bytes {
        if let Media::Bytes(bytes) = media {
            return bytes;
        }
        if let Some(bytes) = self.kept(key) {
            return bytes;
        }
        // Empty only while the runtime shuts down.
        let bytes = tokio::task::spawn_blocking(move || media.render()).await.unwrap_or_default();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(KEPT - 1);
        kept.push_front((key.to_owned(), bytes.clone()));
        bytes
    }

    fn kept(&self, key: &str) -> Option<Bytes> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(it, _)| it == key).map(|(_, bytes)| bytes.clone())
    }
}
