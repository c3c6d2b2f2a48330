// Command sweep removes whatever the catalog of a folder lets go of, with no grace time: sweep STORE. For tests, of which those
// that run tarn as a process may not import the catalog.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/internal/objstore"
)

func main() {
	if err := sweep(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func sweep(ctx context.Context, url string) error {
	store, err := objstore.Open(ctx, url, objstore.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	c, err := catalog.Open(ctx, catalog.Options{Store: store, Grace: time.Nanosecond, MaintainEvery: -1})
	if err != nil {
		return err
	}
	if _, err = c.Begin(ctx); err == nil {
		time.Sleep(time.Millisecond)
		err = c.Maintain(ctx)
	}
	done, _ := c.Upkeep()
	fmt.Printf("%d objects and %d orphans removed\n", done.ObjectsRemoved, done.OrphansRemoved)
	return errors.Join(err, c.Close())
}
