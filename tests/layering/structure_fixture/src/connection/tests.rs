impl super::other::Named {}
