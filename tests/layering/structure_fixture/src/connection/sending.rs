use super::conn::Conn;

impl Conn {}

impl super::other::Named {}
