//! What a generation can say about itself.

use crate::types::{Generation, GenerationFailureCode, GenerationOutput, GenerationState};

impl Generation {
    /// The outputs; empty while there are none.
    #[must_use]
    pub fn outputs(&self) -> &[GenerationOutput] {
        self.output.as_deref().unwrap_or_default()
    }

    /// The layers of a `layering` in the order in which to draw them: the background first.
    ///
    /// Each is cropped; paste it at its [`bounds`](crate::types::LayerBounds) on a transparent canvas.
    #[must_use]
    pub fn layers(&self) -> Vec<&GenerationOutput> {
        let mut layers: Vec<_> = self.outputs().iter().filter(|output| output.layer.is_some()).collect();
        layers.sort_by_key(|output| std::cmp::Reverse(output.layer.as_ref().map(|layer| layer.index)));
        layers
    }
}

impl GenerationState {
    /// Whether the generation has ended. An unknown state counts as not ended.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

impl GenerationFailureCode {
    /// Whether submitting the same request again may work. It creates a new job with a new price.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::GenerationFailed | Self::OutputNotFound | Self::RateLimited)
    }

    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::ContentModerated => "change the prompt or the inputs; the price is refunded",
            Self::GenerationFailed | Self::OutputNotFound => "submit it again; the price is refunded",
            Self::BudgetExhausted => "add credits, then submit it again",
            Self::ImageTooLarge => "shrink the input images",
            Self::UnsupportedFormat => "convert the inputs to a supported format",
            Self::CorruptInput => "replace the input that cannot be decoded",
            Self::InvalidRequest => "change the request",
            Self::RateLimited => "submit it again later",
            _ => "this code is new: see the service's documentation, or update this crate",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_of_failure_has_its_advice() {
        use GenerationFailureCode as Code;
        for (code, advice) in [
            (Code::ContentModerated, "change the prompt or the inputs; the price is refunded"),
            (Code::GenerationFailed, "submit it again; the price is refunded"),
            (Code::OutputNotFound, "submit it again; the price is refunded"),
            (Code::BudgetExhausted, "add credits, then submit it again"),
            (Code::ImageTooLarge, "shrink the input images"),
            (Code::UnsupportedFormat, "convert the inputs to a supported format"),
            (Code::CorruptInput, "replace the input that cannot be decoded"),
            (Code::InvalidRequest, "change the request"),
            (Code::RateLimited, "submit it again later"),
            ("new".into(), "this code is new: see the service's documentation, or update this crate"),
        ] {
            assert_eq!(code.advice(), advice, "{code:?}");
            let again = [Code::GenerationFailed, Code::OutputNotFound, Code::RateLimited].contains(&code);
            assert_eq!(code.is_retryable(), again, "{code:?}");
        }
    }
}
