"""How good the incidents are: storms whose truth is known, and recordings with labelled faults."""
