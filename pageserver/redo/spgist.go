package redo

// spgist is the manager of SP-GiST.
var spgist manager
