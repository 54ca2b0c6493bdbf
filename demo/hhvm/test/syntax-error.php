<?hh
print hello
