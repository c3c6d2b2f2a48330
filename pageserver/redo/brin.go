package redo

// brin is the manager of BRIN.
var brin manager
