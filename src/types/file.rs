//! What a file can say about itself.

use crate::types::FileState;

impl FileState {
    /// Whether nothing more happens to the file by itself. An unknown state is taken as one on the way.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Ready | Self::Failed | Self::Deleted)
    }
}
