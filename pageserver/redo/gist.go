package redo

// gist is the manager of GiST.
var gist manager
