// Package e2e runs the built tarn binary against real Postgres servers and reads the lake with PyIceberg and DuckDB. It
// has no code of its own, only tests: a scenario says what happens to the servers, and at its end every row of every table
// has to be equal, and every acknowledged transaction in the lake exactly once.
//
// What users of other ways from Postgres to a lake complain of most, and the tests that hold it against this one:
//
//	WAL is held back, also by idle tables               TestPrimaryIsNotHeldBack
//	a lost slot means to copy all again                 TestSlotIsInvalidated TestLostDataDirectory
//	TOASTed values that did not change become null      TestTOAST
//	REPLICA IDENTITY FULL is asked for                  TestPrimaryIsNotHeldBack
//	a primary key is needed                             TestEveryDDL
//	a change of schema breaks it                        TestEveryDDL TestRandomPrograms
//	a large transaction takes all memory                TestLargeTransaction
//	equality deletes                                    TestPositionDeletes TestEqualThroughEveryEngine
//	small files, and compaction is the user's           TestCompaction TestScatteredCompaction TestSparseFiles TestManyDeletes
//	numeric loses digits                                TestEqualThroughEveryEngine TestEveryDDL
//	rows twice or not at all after a crash              TestKill9 TestS3Faults TestFollowsPromotion
//	its own position and the slot's disagree            TestLostDataDirectory TestEmptiedStore TestTwoOnOneStore
//	the initial copy is stuck, or holds VACUUM back     TestKilledWhileAttaching TestBaseBackupBreaksOff TestPrimaryIsNotHeldBack
//	partitions and TRUNCATE are passed over             TestEveryDDL TestUnloggedPartition TestPartitionsByLeaf
//	tables disagree with each other                     TestSumHoldsInEveryPublication
//
// Transactions, kind by kind:
//
//	savepoints, locks, multixacts, ON CONFLICT, MERGE   TestLocksAndSubtransactions TestMatrix TestStress
//	more subtransactions than a backend advertises      TestManySubtransactionsOpen TestLocksAndSubtransactions
//	prepared, over restarts of tarn and Postgres        TestPreparedAndOpenTransactions TestMatrix TestStress
//	prepared, over a promotion                          TestFollowsPromotion
//	COPY FREEZE, aborted bulk loads                     TestMatrix TestStress TestRandomPrograms TestLargeTransaction
//	a million rows, ten in a long run                   TestLargeTransaction
//	idle in transaction, a thousand in a long run       TestIdleInTransaction
//	transaction ids that wrap around                    TestTransactionIDsWrapAround
package e2e
