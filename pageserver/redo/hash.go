package redo

// hash is the manager of hash indexes.
var hash manager
