package redo

// seq is the manager of sequences.
var seq manager
