<?hh
// A test of its own.
echo "Hello, \"world\"\n";
