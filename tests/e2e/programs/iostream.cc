// SPDX-License-Identifier: MIT
// iostream.cc - static constructors, streams, exceptions and threads of C++; readiness point `main`
#include <iostream>
#include <map>
#include <regex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

struct Loud {
	std::string name;
	explicit Loud(std::string n) : name(std::move(n)) { std::cout << "constructed " << name << std::endl; }
	~Loud() { std::cout << "destroyed " << name << std::endl; }
};

static Loud first("first"), second("second");
static std::map<std::string, int> counts = { { "a", 1 }, { "b", 2 } };
thread_local std::string local = "local";

int main(int argc, char **argv)
{
	std::string line;
	int sum = 0;

	for (int i = 1; i < argc; i++)
		std::cout << i << "=" << argv[i] << "\n";
	while (std::getline(std::cin, line))
		sum += static_cast<int>(line.size());
	std::cout << "read " << sum << " counts " << counts.at("b") << std::endl;
	try {
		throw std::runtime_error("thrown");
	} catch (const std::exception &e) {
		std::cerr << e.what() << std::endl;
	}
	std::vector<std::thread> threads;
	std::vector<std::string> got(4);
	for (int i = 0; i < 4; i++)
		threads.emplace_back([&got, i] { local += std::to_string(i); got[static_cast<size_t>(i)] = local; });
	for (auto &t : threads)
		t.join();
	for (auto &s : got)
		std::cout << s << " ";
	std::cout << std::regex_replace(std::string("x1y2"), std::regex("[0-9]"), "#") << std::endl;
	return sum & 127;
}
