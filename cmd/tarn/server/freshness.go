package server

import (
	"time"

	"github.com/tarn-db/tarn/internal/pg"
)

// commitTimesMax bounds how many commits of one interval are timed.
const commitTimesMax = 512

// commitTimes samples the commit times of what is not published yet, evenly. The first is always among them, so that the
// longest wait of an interval is counted.
type commitTimes struct {
	after  pg.LSN // commits up to here are published already: WAL is redone again after a restart
	times  []time.Time
	stride int
	skip   int
}

// note takes in a commit that was redone.
func (c *commitTimes) note(lsn pg.LSN, at time.Time) {
	if lsn <= c.after || at.IsZero() {
		return
	}
	c.after = lsn
	if c.skip++; c.skip < c.stride {
		return
	}
	c.skip = 0
	if len(c.times) == commitTimesMax { // keep every second one from here on
		for i := range commitTimesMax / 2 {
			c.times[i] = c.times[2*i]
		}
		c.times, c.stride = c.times[:commitTimesMax/2], max(1, c.stride)*2
	}
	c.times = append(c.times, at)
}

// first is when the first commit that is not published was made; zero if there is none.
func (c *commitTimes) first() time.Time {
	if len(c.times) == 0 {
		return time.Time{}
	}
	return c.times[0]
}

// take gives the sample and begins the next interval.
func (c *commitTimes) take() []time.Time {
	t := c.times
	c.times, c.stride, c.skip = nil, 0, 0
	return t
}
