package column

// CopyLevels adds an entry to a leaf as Parquet stores it: its levels. The value, which is there if def is MaxDef, is added by the
// caller, one of bytes by CopyBytes or CopyFixed. Whoever copies into one leaf of a column copies into all of them.
func (b *Builder) CopyLevels(def, rep int16) {
	b.Def = append(b.Def, def)
	if b.MaxRep > 0 {
		b.Rep = append(b.Rep, rep)
	}
}

// CopyBytes adds the value of a String or Binary whose levels have been copied.
func (b *Builder) CopyBytes(v []byte) {
	b.Data = append(b.Data, v...)
	b.Ends = append(b.Ends, len(b.Data))
	b.checkFull()
}

// CopyFixed adds the value of a UUID or Decimal whose levels have been copied.
func (b *Builder) CopyFixed(v []byte) {
	b.Data = append(b.Data, v...)
	b.checkFull()
}
