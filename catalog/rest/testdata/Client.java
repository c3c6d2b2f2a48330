import java.util.*;
import java.util.concurrent.Callable;
import org.apache.hadoop.conf.Configuration;
import org.apache.iceberg.*;
import org.apache.iceberg.catalog.*;
import org.apache.iceberg.hadoop.HadoopTables;
import org.apache.iceberg.io.CloseableIterable;
import org.apache.iceberg.rest.RESTCatalog;
import org.apache.iceberg.types.Types;

/**
 * Walks a catalog with Iceberg's own client, and prints "what: outcome" lines; outcomes of calls that fail are the exception's
 * class and message. Arguments: URI, token, table folder for a client without a catalog.
 */
public class Client {
  static String uri;
  static String token;

  static void say(String what, Callable<Object> call) {
    String outcome;
    try {
      outcome = String.valueOf(call.call());
    } catch (Throwable e) {
      outcome = e.getClass().getSimpleName() + ": " + e.getMessage();
    }
    System.out.println(what + ": " + outcome.replace('\n', ' '));
  }

  static RESTCatalog open(String... more) {
    Map<String, String> props = new HashMap<>(Map.of("uri", uri, "warehouse", "app", "token", token));
    for (int i = 0; i + 1 < more.length; i += 2) {
      props.put(more[i], more[i + 1]);
    }
    if (props.get("token").isEmpty()) {
      props.remove("token");
    }
    RESTCatalog catalog = new RESTCatalog();
    catalog.setConf(new Configuration());
    catalog.initialize("tarn", props);
    return catalog;
  }

  static Object rows(TableScan scan) throws Exception {
    long rows = 0;
    try (CloseableIterable<FileScanTask> tasks = scan.planFiles()) {
      for (FileScanTask task : tasks) {
        rows += task.file().recordCount();
        for (DeleteFile deletes : task.deletes()) {
          rows -= deletes.recordCount();
        }
      }
    }
    return rows;
  }

  static Object newest(Table table) {
    return table.currentSnapshot().summary().get("tarn.lsn");
  }

  public static void main(String[] args) throws Exception {
    uri = args[0];
    token = args[1];
    RESTCatalog catalog = open();
    Namespace schema = Namespace.of("public"), odd = Namespace.of("Odd Schema"), none = Namespace.of("none");
    TableIdentifier users = TableIdentifier.of(schema, "users"), nothing = TableIdentifier.of(schema, "nothing");

    say("namespaces", () -> catalog.listNamespaces());
    say("namespaces below", () -> catalog.listNamespaces(schema));
    say("namespaces below none", () -> catalog.listNamespaces(none));
    say("namespace", () -> new TreeMap<>(catalog.loadNamespaceMetadata(odd)).keySet());
    say("namespace none", () -> catalog.loadNamespaceMetadata(none));
    say("namespace exists", () -> catalog.namespaceExists(odd) + " " + catalog.namespaceExists(none));
    say("tables", () -> catalog.listTables(schema));
    say("tables by pages", () -> open("rest-page-size", "1").listTables(schema));
    say("tables none", () -> catalog.listTables(none));
    say("table exists", () -> catalog.tableExists(users) + " " + catalog.tableExists(nothing));
    say("table none", () -> catalog.loadTable(nothing));
    say("views", () -> catalog.listViews(schema));

    Table table = catalog.loadTable(users);
    say("newest", () -> newest(table));
    say("rows", () -> rows(table.newScan()));
    List<Snapshot> history = new ArrayList<>();
    table.snapshots().forEach(history::add);
    say("rows at each snapshot", () -> {
      List<Object> all = new ArrayList<>();
      for (Snapshot s : history) {
        all.add(rows(table.newScan().useSnapshot(s.snapshotId())));
      }
      return all;
    });
    say("rows by time", () -> rows(table.newScan().asOfTime(history.get(0).timestampMillis())));
    say("again", () -> newest(catalog.loadTable(users)));
    say("odd name", () -> rows(catalog.loadTable(TableIdentifier.of(odd, "a/b c+ü%41")).newScan()));
    RESTCatalog refs = open("snapshot-loading-mode", "refs");
    Table lazy = refs.loadTable(users);
    say("refs newest", () -> newest(lazy));
    say("refs history", () -> {
      int n = 0;
      for (Snapshot s : lazy.snapshots()) {
        n++;
      }
      return n;
    });
    say("pinned", () -> newest(open("warehouse", args[3]).loadTable(users)));

    say("create namespace", () -> { catalog.createNamespace(none); return "done"; });
    say("drop namespace", () -> catalog.dropNamespace(schema));
    say("set properties", () -> catalog.setProperties(schema, new HashMap<>(Map.of("a", "b"))));
    say("create table", () -> catalog.createTable(nothing, new Schema(Types.NestedField.required(1, "i", Types.IntegerType.get()))));
    say("drop table", () -> catalog.dropTable(users));
    say("purge table", () -> catalog.dropTable(users, true));
    say("rename table", () -> { catalog.renameTable(users, nothing); return "done"; });
    say("register table", () -> catalog.registerTable(nothing, ((HasTableOperations) table).operations().current().metadataFileLocation()));
    say("change properties", () -> { table.updateProperties().set("a", "b").commit(); return "done"; });
    say("delete files", () -> { table.newDelete().deleteFile("x").commit(); return "done"; });
    say("expire", () -> { table.expireSnapshots().expireOlderThan(Long.MAX_VALUE).commit(); return "done"; });
    say("replace transaction", () -> { catalog.newReplaceTableTransaction(users, table.schema(), false).commitTransaction(); return "done"; });
    say("commit transaction", () -> {
      TableMetadata now = ((HasTableOperations) table).operations().current();
      catalog.commitTransaction(TableCommit.create(users, now, now.replaceProperties(Map.of("a", "b"))));
      return "done";
    });
    say("create view", () -> catalog.buildView(nothing).withSchema(table.schema()).withQuery("spark", "select 1").withDefaultNamespace(schema).create());

    say("unknown warehouse", () -> open("warehouse", "nope"));
    say("no token", () -> open("token", ""));
    say("wrong token", () -> open("token", "wrong-wrong-wrong-wrong"));
    say("a credential", () -> open("token", "", "credential", "user:password"));

    HadoopTables folders = new HadoopTables(new Configuration());
    say("without a catalog", () -> newest(folders.load(args[2])) + " " + rows(folders.load(args[2]).newScan()));
    System.exit(0);
  }
}
