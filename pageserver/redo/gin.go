package redo

// gin is the manager of GIN.
var gin manager
