package pageserver

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/layer"
)

// layerStream is a layer on its way into the store. It is not part of a timeline until an index names it.
type layerStream struct {
	*layer.Writer
	name string
	pipe *io.PipeWriter
	done chan error // of the put
}

var errAborted = errors.New("layer given up")

// newLayerStream begins a layer object in a folder, named after what.
func newLayerStream(ctx context.Context, r *reader, kind layer.Kind, folder, what string, lsn pg.LSN) (*layerStream, error) {
	from, to := io.Pipe()
	s := &layerStream{name: fmt.Sprintf("%s%s-%s", folder, what, newNonce()), pipe: to, done: make(chan error, 1)}
	go func() {
		_, err := r.store.PutStream(ctx, r.prefix+s.name, from)
		if err == nil {
			// Whatever is written after the store has all is a mistake.
			_ = from.CloseWithError(errors.New("the store has stopped reading"))
		} else {
			_ = from.CloseWithError(err) // the writer's next write fails with it
		}
		s.done <- err
	}()
	var err error
	if s.Writer, err = layer.NewWriter(to, kind, lsn); err != nil {
		s.abort()
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return s, nil
}

// finish completes the layer and waits until it is durable.
func (s *layerStream) finish() (*layerObject, error) {
	info, err := s.Writer.Close()
	if err != nil {
		s.abort()
		return nil, fmt.Errorf("write layer: %w", err)
	}
	_ = s.pipe.Close() // never fails
	if err := <-s.done; err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return &layerObject{Name: s.name, Size: info.Size, LSN: info.LSN, First: info.First, Last: info.Last, Values: info.Values, id: layerIDs.Add(1)}, nil
}

// abort gives the layer up; the store is left without the object.
func (s *layerStream) abort() {
	_ = s.pipe.CloseWithError(errAborted) // never fails
	<-s.done
}

// writeLayer streams one new image layer into the store.
func (t *Timeline) writeLayer(ctx context.Context, lsn pg.LSN, fill func(*layer.Writer) error) (*layerObject, error) {
	s, err := newLayerStream(ctx, t.reader, layer.Image, layersFolder, fmt.Sprintf("%016X", uint64(lsn)), lsn)
	if err != nil {
		return nil, err
	}
	return s.fill(fill)
}

// fill completes the layer with what fn adds to it.
func (s *layerStream) fill(fn func(*layer.Writer) error) (*layerObject, error) {
	if err := fn(s.Writer); err != nil {
		s.abort()
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return s.finish()
}
