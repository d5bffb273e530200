pub(crate) struct Named {
    pub(crate) visible: u8,
}

impl Named {}

#[cfg(test)]
mod tests {
    impl super::Named {
        fn in_tests() {
            let one = 1;
            let two = 2;
            drop((one, two));
        }
    }
}
