use super::conn::Conn;

impl Conn {
    /// Documentation does not count,
    /// however long it is.
    #[inline]
    fn five_lines(
        &self,
    ) -> u8 {
        1
    }
}
