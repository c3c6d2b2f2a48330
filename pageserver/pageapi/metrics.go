package pageapi

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
)

// meters are the service's figures.
type meters struct {
	requests *prometheus.CounterVec   // by method and gRPC's code
	seconds  *prometheus.HistogramVec // by method
	pages    prometheus.Counter
}

func newMeters(r prometheus.Registerer) *meters {
	m := &meters{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tarn_page_requests_total", Help: "Requests to the page service; each of a stream counts."}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tarn_page_request_seconds", Help: "Time from a request's arrival until its answer is ready.",
			Buckets: prometheus.ExponentialBuckets(10e-6, 2, 22), // 10 us to 21 s
		}, []string{"method"}),
		pages: prometheus.NewCounter(prometheus.CounterOpts{Name: "tarn_pages_read_total", Help: "Pages that the page service has answered with."}),
	}
	if r != nil {
		r.MustRegister(m.requests, m.seconds, m.pages)
	}
	return m
}

// done counts a request that has been answered.
func (m *meters) done(method string, began time.Time, pages int, err error) {
	kind := codes.OK
	if err != nil {
		kind = kindOf(err)
	}
	m.requests.WithLabelValues(method, kind.String()).Inc()
	m.seconds.WithLabelValues(method).Observe(time.Since(began).Seconds())
	m.pages.Add(float64(pages))
}
