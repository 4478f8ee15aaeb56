#!/bin/sh
# SPDX-License-Identifier: MIT
# gen.sh DIR [COUNT] - a C++ program with COUNT (60) shared libraries of its own, as large C++ projects
# have them: classes with virtual functions, templates that several libraries instantiate, calls between
# libraries, and static objects that register themselves. What the dynamic linker has to do for it is
# symbol look-ups and relocations by the thousand; what the program does is print three lines.
set -eu

dir=${1:?usage: gen.sh DIR [COUNT]}
count=${2:-60}
cxx=${CXX:-g++}
flags="-std=c++17 -O1 -fPIC -g0"
classes=24

mkdir -p "$dir/src" "$dir/lib"

cat >"$dir/src/common.h" <<'EOF'
#pragma once
#include <string>
#include <vector>

namespace many
{
struct Shape {
	virtual ~Shape() = default;
	virtual std::string name() const = 0;
	virtual long weight(long factor) const = 0;
	virtual long depth() const { return 1; }
	virtual void visit(std::vector<std::string> &to) const { to.push_back(name()); }
};

/* defined in library 0, filled by the static initialisers of all */
std::vector<const Shape *> &registry();

struct Registrar {
	explicit Registrar(const Shape *s) { registry().push_back(s); }
};

/* instantiated in every library with its own and with shared types: weak symbols to be unified */
template <typename T, int N> struct Table {
	static T values[N];
	static T sum()
	{
		T s{};
		for (int i = 0; i < N; i++)
			s += values[i];
		return s;
	}
};
template <typename T, int N> T Table<T, N>::values[N];
}
EOF

library() { # NUMBER: prints its source
	i=$1
	echo '#include "common.h"'
	echo 'namespace many {'
	if [ "$i" -eq 0 ]; then
		echo 'std::vector<const Shape *> &registry() { static std::vector<const Shape *> r; return r; }'
	else
		for back in 1 2 7; do
			[ "$i" -ge "$back" ] || continue
			for c in 0 3 5 11 17; do
				echo "long free_$((i - back))_$c(long);"
			done
		done
	fi
	c=0
	while [ "$c" -lt "$classes" ]; do
		cat <<EOF
struct Shape_${i}_$c : Shape {
	std::string name() const override { return "shape ${i}.$c"; }
	long weight(long factor) const override { return factor * $((i * 31 + c)) + Table<long, $((c % 8 + 1))>::sum(); }
	long depth() const override { return $((c % 5)); }
};
static const Shape_${i}_$c shape_$c;
long free_${i}_$c(long x) { return shape_$c.weight(x) ^ x; }
EOF
		c=$((c + 1))
	done
	echo 'static const Registrar registrars[] = { Registrar(&shape_0), Registrar(&shape_5), Registrar(&shape_11) };'
	echo "static const std::vector<std::string> labels = { \"lib $i\", std::string($((i % 9 + 17)), 'x') };"
	echo "typedef long (*function)(long);"
	echo "extern const function table_$i[];"
	echo "const function table_$i[] = {"
	c=0
	while [ "$c" -lt "$classes" ]; do
		echo "	free_${i}_$c,"
		c=$((c + 1))
	done
	echo '};'
	echo "long entry_$i(long x) {"
	echo "	x += labels[1].size() + labels[0].size();"
	if [ "$i" -gt 0 ]; then
		for back in 1 2 7; do
			[ "$i" -ge "$back" ] || continue
			for c in 0 3 5 11 17; do
				echo "	x += free_$((i - back))_$c(x % 1000);"
			done
		done
	fi
	echo "	for (int c = 0; c < $classes; c++) x = (x + table_$i[c](c)) % 1000003;"
	echo '	return x;'
	echo '}'
	echo '}'
}

main_source() {
	echo '#include "common.h"'
	echo '#include <cstdio>'
	echo 'namespace many {'
	i=0
	while [ "$i" -lt "$count" ]; do
		echo "long entry_$i(long);"
		i=$((i + 1))
	done
	echo '}'
	echo 'int main() {'
	echo '	using namespace many;'
	echo '	long x = 1, weight = 0;'
	i=0
	while [ "$i" -lt "$count" ]; do
		echo "	x = entry_$i(x);"
		i=$((i + 1))
	done
	cat <<EOF
	for (const Shape *s : registry())
		weight += s->weight(3) + s->depth();
	std::printf("libraries %d\\n", $count);
	std::printf("registered %zu, weight %ld\\n", registry().size(), weight);
	std::printf("result %ld\\n", x);
	return 0;
}
EOF
}

i=0
while [ "$i" -lt "$count" ]; do
	library "$i" >"$dir/src/lib$i.cc"
	i=$((i + 1))
done
main_source >"$dir/src/main.cc"

# compile beside each other, link in order: a library is linked against those it calls
cpus=$(getconf _NPROCESSORS_ONLN)
seq 0 $((count - 1)) | xargs -P "$cpus" -I '{}' \
	$cxx $flags -I"$dir/src" -c -o "$dir/src/lib{}.o" "$dir/src/lib{}.cc"
names=
i=0
while [ "$i" -lt "$count" ]; do
	needed=
	for j in 0 $((i - 7)) $((i - 2)) $((i - 1)); do
		[ "$j" -lt 0 ] || [ "$j" -ge "$i" ] || needed="$needed -lmany$j"
	done
	$cxx -shared -o "$dir/lib/libmany$i.so" "$dir/src/lib$i.o" -L"$dir/lib" $needed
	names="$names -lmany$i"
	i=$((i + 1))
done

# system libraries that the project's own build needs anyway, where they are installed
system=
for lib in z ssl crypto protobuf-c cap elf cjson systemd; do
	if echo 'int main() {}' | $cxx -x c++ -o /dev/null - "-l$lib" 2>/dev/null; then
		system="$system -l$lib"
	fi
done
$cxx $flags -I"$dir/src" -o "$dir/many_libs.new" "$dir/src/main.cc" -L"$dir/lib" -Wl,-rpath,'$ORIGIN/lib' \
	-Wl,--no-as-needed $names $system
mv "$dir/many_libs.new" "$dir/many_libs"
