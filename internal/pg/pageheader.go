package pg

// HeapItems counts a heap page's line pointers after a look at its header (PageIsVerified without the checksum). A page
// that was never initialised has none. The error is a *CorruptError: a damaged header must not pass for an empty page.
func (p Page) HeapItems() (int, error) {
	if len(p) == 0 || p.IsNew() {
		return 0, nil
	}
	lower, upper, special := int(p.Lower()), int(p.Upper()), int(p.Special())
	if lower < PageHeaderSize || lower > upper || upper > special || special > BlockSize {
		return 0, Corruptf("page header says lower %d, upper %d, special %d", lower, upper, special)
	}
	return p.NumItems(), nil
}

// HeapTuple returns the tuple at a line pointer, ok false if there is none there. The error is a *CorruptError: a line
// pointer in use that leads off the page must not pass for an unused one. The caller has checked off <= HeapItems().
func (p Page) HeapTuple(off OffsetNumber) (t HeapTuple, ok bool, err error) {
	if t, ok = p.Tuple(off); !ok && p.Item(off).State() == LPNormal {
		i := p.Item(off)
		return nil, false, Corruptf("line pointer %d leads to %d bytes at %d", off, i.Len(), i.Offset())
	}
	return t, ok, nil
}
