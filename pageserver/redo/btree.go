package redo

// btree is the manager of nbtree.
var btree manager
