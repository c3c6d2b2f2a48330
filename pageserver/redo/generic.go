package redo

// generic is the manager of generic records.
var generic manager
