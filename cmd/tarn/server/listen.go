package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tarn-db/tarn/catalog/rest"
	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/listen"
	"github.com/tarn-db/tarn/internal/objstore"
)

// port is one open endpoint.
type port struct {
	net.Listener
	guard  *listen.Guard
	reload chan struct{}
}

func (p *port) url() string { return p.guard.Scheme() + "://" + p.Addr().String() }

// open opens a port; protocol is what its TLS agrees on, "" for HTTP/1.1.
func (s *Server) open(name string, l config.Listener, protocol string) (*port, error) {
	guard, err := listen.Open(listen.Options{Name: name, Cert: l.TLS.Cert, Key: l.TLS.Key, ClientCA: l.TLS.ClientCA, Tokens: l.TokensFile, Protocol: protocol, Logger: s.log})
	if err != nil {
		return nil, err
	}
	tcp, err := net.Listen("tcp", l.Listen)
	if err != nil {
		return nil, fault.Errorf(fault.PortUnusable, "%s.listen: %w", name, err)
	}
	return &port{guard.Listener(tcp), guard, make(chan struct{}, 1)}, nil
}

// listen opens the admin and catalog endpoints; they serve from the first moment on, ready or not.
func (s *Server) listen(ctx context.Context, g *errgroup.Group, reload <-chan os.Signal) error {
	web, err := s.open("http", s.cfg.HTTP, "")
	if err != nil {
		return err
	}
	cat, err := s.open("catalog", s.cfg.Catalog, "")
	if err != nil {
		return errors.Join(err, web.Close())
	}
	adm := admin.New(admin.Options{Source: s, Freshness: s.fresh, Version: s.version, Logger: s.log, Allow: web.guard.Allows})
	handler, err := rest.New(rest.Options{
		View: s.cat.View(), Logger: s.log, TableConfig: objstore.EngineProperties(s.store), Vendor: objstore.VendorOf(s.store),
		Allow: cat.guard.Allows, Registerer: adm.Registerer(),
	})
	if err != nil {
		return errors.Join(err, web.Close(), cat.Close())
	}
	pages, err := s.servePages(ctx, g, adm)
	if err != nil {
		return errors.Join(err, web.Close(), cat.Close())
	}
	s.endpoints = admin.Endpoints{
		Catalog: cat.url(), CatalogToken: s.cfg.Catalog.TokensFile != "", CatalogVends: objstore.VendorOf(s.store) != nil, Store: s.cfg.Store, StoreProperties: objstore.EngineProperties(s.store),
		Source: receive.Address(receive.Source{URL: s.cfg.Source.URL}),
	}
	g.Go(func() error { return adm.Serve(ctx, web) })
	s.serveCatalog(ctx, g, cat, handler)
	ports := []*port{web, cat}
	if pages != nil {
		ports = append(ports, pages)
	}
	for _, p := range ports {
		g.Go(func() error { p.guard.Run(ctx, p.reload); return nil })
	}
	g.Go(func() error { passReload(ctx, reload, ports); return nil })
	s.log.Info("serving", "catalog", cat.url(), "http", web.url())
	return nil
}

// passReload tells every port of each signal.
func passReload(ctx context.Context, reload <-chan os.Signal, ports []*port) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-reload:
		}
		for _, p := range ports {
			select {
			case p.reload <- struct{}{}:
			default: // it has not got to the last one yet
			}
		}
	}
}

func (s *Server) serveCatalog(ctx context.Context, g *errgroup.Group, l net.Listener, h http.Handler) {
	srv := rest.NewServer(h)
	srv.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	g.Go(func() error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fault.Errorf(fault.PortUnusable, "catalog listener: %w", err)
		}
		return nil
	})
	g.Go(func() error { // waited for: the store must not close under a request
		<-ctx.Done()
		sctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if srv.Shutdown(sctx) != nil {
			return srv.Close()
		}
		return nil
	})
}
