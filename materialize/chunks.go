package materialize

// Sizes of a chunk: it doubles from the first to the last.
const (
	chunkMin = 64 << 10
	chunkMax = 1 << 20
)

// chunks is an io.Writer to memory that does not copy what it holds to grow. A bytes.Buffer would hold a file three
// times while it doubles.
type chunks struct {
	list [][]byte
	n    int
}

// Write implements io.Writer; it never fails.
func (c *chunks) Write(p []byte) (int, error) {
	c.n += len(p)
	written := len(p)
	for len(p) > 0 {
		last := len(c.list) - 1
		if last < 0 || len(c.list[last]) == cap(c.list[last]) {
			size := chunkMin
			if last >= 0 {
				size = min(chunkMax, 2*cap(c.list[last]))
			}
			c.list = append(c.list, make([]byte, 0, size))
			last++
		}
		l := c.list[last]
		k := min(len(p), cap(l)-len(l))
		c.list[last] = append(l, p[:k]...)
		p = p[k:]
	}
	return written, nil
}

// take gives everything written as one slice and begins anew.
func (c *chunks) take() []byte {
	b := make([]byte, 0, c.n)
	for i, l := range c.list {
		b = append(b, l...)
		c.list[i] = nil // may be collected while the rest is copied
	}
	*c = chunks{}
	return b
}
