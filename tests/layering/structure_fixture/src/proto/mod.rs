pub(crate) struct Connection {
    pub(super) visible: u8,
}

/// The same name as that of the connection's.
struct Conn {
    pub(crate) visible: u8,
}

impl Conn {}

trait Follows {
    fn four_lines() {
        let one = 1;
        drop(one);
    }

    fn five_lines() {
        let one = 1;
        let two = 2;
        drop((one, two));
    }
}
