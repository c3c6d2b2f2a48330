//go:build !linux

package pageserver

func adviseHugePages([]byte) {}
