#include "dense/layout.h"

#include <cmath>
#include <limits>
#include <vector>

#include "testing/check.h"

namespace blast_deploy::dense {
namespace {

std::vector<float> packed(const Layout& layout, const std::vector<float>& weight) {
  std::vector<float> values(static_cast<std::size_t>(layout.size), std::numeric_limits<float>::quiet_NaN());
  pack(layout, sizeof(float), weight.data(), values.data());
  return values;
}

TEST(panels_hold_columns_of_the_weight) {
  std::vector<float> expected(32, 0.0F);
  expected[0] = 11;
  expected[1] = 21;
  expected[8] = 12;
  expected[9] = 22;
  expected[16] = 13;
  expected[17] = 23;
  CHECK(packed(plan(2, 3), {11, 12, 13, 21, 22, 23}) == expected);
}

TEST(long_rows_are_cut_into_segments) {
  const Layout one = plan(32, 256);
  CHECK(one.segment == 256 && one.size == 32 * 256);
  const Layout two = plan(33, 257);
  CHECK(two.segment == 129 && columns_of_segment(two, 129) == 128);
  CHECK(two.size == (129 + 128) * 32 + blast::round_up(129 * 8, 16) + 128 * 8);
}

TEST(segments_follow_each_other) {
  std::vector<float> weight;
  for (int column = 0; column < 257; ++column) weight.push_back(static_cast<float>(column) + 1.0F);
  const std::vector<float> values = packed(plan(1, 257), weight);
  const std::size_t second = 129 * 8 + 8;  // a panel starts on a whole cache line
  for (std::size_t column = 0; column < 257; ++column) {
    const std::size_t place = column < 129 ? column * 8 : second + (column - 129) * 8;
    CHECK(values[place] == weight[column] && values[place + 1] == 0.0F);
  }
}

TEST(impossible_sizes_are_refused) {
  constexpr std::int64_t kHuge = (std::int64_t{1} << 31) - 1;
  CHECK_THROWS(plan(0, 1), "out_features is 0, and must be from 1 to 2147483647");
  CHECK_THROWS(plan(1, kHuge + 1), "in_features is 2147483648, and must be from 1 to 2147483647");
  CHECK_THROWS(plan(kHuge, kHuge), "the packed weight would exceed 1099511627776 values; use fewer features");
}

}  // namespace
}  // namespace blast_deploy::dense

RUN_TESTS()
