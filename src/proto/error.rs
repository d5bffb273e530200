use std::borrow::Cow;

use super::WSCloseCode;

/// The peer broke RFC 6455, or the listener says that it did.
///
/// Returned from a listener callback it chooses the code and the reason of the CLOSE frame that ends the
/// connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct WSProtocolError {
    /// The code that the CLOSE frame carries.
    pub code: WSCloseCode,
    /// What was wrong; also the reason in the CLOSE frame, cut to 123 bytes.
    pub message: Cow<'static, str>,
}

impl WSProtocolError {
    /// An error that closes the connection with this code and message.
    pub fn new(code: WSCloseCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    #[cold]
    pub(crate) fn bad_text() -> Self {
        Self::new(WSCloseCode::INVALID_TEXT, "text is not UTF-8")
    }
}
